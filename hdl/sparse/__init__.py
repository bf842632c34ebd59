"""The sparse, weight-shared matrix-vector engine, after EIE (Han et al., ISCA 2016).

The files in the order of the data: :mod:`scan`, :mod:`counts`, :mod:`queue`, :mod:`fetch`,
:mod:`decode`, :mod:`accumulate` (these five, one of each per row slice, are an :mod:`element`),
:mod:`drain`; :mod:`engine` is all of them.
"""
