"""Ordinary exports, damaged in every usual way by the ten thousand: is each read right, said, asked about or refused?

`python -m tests.malformed --tries 10000` prints how each damage ended; nothing may be misread in silence.
"""
