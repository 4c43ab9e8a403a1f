"""Training of both models: objectives, optimisers, phases, and the loop."""
