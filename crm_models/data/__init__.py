"""From files to arrays: cohorts, data checks, features and the simulated truth."""
