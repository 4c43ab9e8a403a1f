"""Words, settings, errors, records and files: what every stage uses."""
