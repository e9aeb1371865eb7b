// Cells of a template of Vue's own stay in place when rows or the order change, and so does the
// focus in them; those of NiceGUI's template slots are made anew at each update.
export default {
  template: `
    <q-table :columns="formatted">
      <template #header-cell="props">
        <q-th :props="props" tabindex="0" :aria-sort="order(props.col)"
              @keydown.enter="props.sort(props.col)"
              @keydown.space.prevent="props.sort(props.col)">
          {{ props.col.label }}
        </q-th>
      </template>
      <template #body-cell="props">
        <q-td :props="props">
          <a v-if="link(props)" :href="link(props)">{{ props.value }}</a>
          <span v-else-if="props.col.kind === 'state'" :class="'state state-' + props.value">
            {{ props.value }}
          </span>
          <template v-else-if="props.col.kind === 'progress'">
            <span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"
                  :aria-valuenow="percent(props)" :aria-label="'progress of ' + props.row.id">
              <div :style="{width: 100 * props.value + '%'}"></div></span>
            {{ percent(props) }} %
          </template>
          <template v-else>{{ props.value }}</template>
        </q-td>
      </template>
    </q-table>
  `,
  props: { columns: Array },
  computed: {
    formatted() {
      const words = (name) => (value, row) => row.words?.[name] ?? value;
      return this.columns.map((column) => ({ ...column, format: words(column.name) }));
    },
  },
  methods: {
    link: (props) => props.row.links?.[props.col.name],
    percent: (props) => Math.floor(100 * props.value),
    order(column) {
      const { sortBy, descending } = this.$attrs.pagination;
      if (sortBy !== column.name) return undefined;
      return descending ? "descending" : "ascending";
    },
  },
};
