"""Where cohorts come from: generators and importers."""
