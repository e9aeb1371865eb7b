"""The driver's side of a study: submissions, placement, Ray Tune over Ray Train."""
