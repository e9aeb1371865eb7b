"""Papers that combine parts of the registries, each under its name: one YAML file a recipe."""
