"""The two Transformers and the layers they share. The first package that imports torch."""
