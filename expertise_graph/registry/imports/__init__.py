"""Results, scores, covariates and task distances from tables of others."""
