"""Feature maps: how they are gone through, where they are kept, and what needs no weights.

The files in the order of the data: :mod:`walk` tells the places of a map one after another,
:mod:`memory` has what lies there, :mod:`fold` makes one word of each window: pooling, addition.
:mod:`conductor` begins one stage after another, and :mod:`maps` is all of it.
"""
