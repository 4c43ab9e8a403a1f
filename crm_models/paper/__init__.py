"""The re-run of the paper."""
