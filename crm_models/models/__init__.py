"""The two Transformers and the attention blocks they share. The first stage that imports torch."""
