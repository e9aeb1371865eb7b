"""Everything that a team needs, on one machine: Ray, MLflow on PostgreSQL, the dashboard."""
