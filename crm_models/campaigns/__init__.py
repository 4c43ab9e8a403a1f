"""Campaigns: rules, control group, hand-over, approval, budget, and what came of it; see `folder` for the files."""
