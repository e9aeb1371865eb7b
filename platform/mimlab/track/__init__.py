"""MLflow: a view of the submission and trial folders, and the only room that imports mlflow.

Importing this package, or any of its modules that a driver names (`view`, `drain`, `uri`,
`metric_keys`), does not import mlflow: that costs seconds and happens on the first `sync`.
"""
