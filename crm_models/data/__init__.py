"""From files to arrays: cohorts, their checks, features and truth."""
