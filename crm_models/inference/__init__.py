"""From a trained model to probabilities, steps and reasons."""
