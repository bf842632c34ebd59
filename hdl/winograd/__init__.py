"""Convolution with 3x3 kernels by fast algorithms (Lavin and Gray, CVPR 2016), exact in every bit.

The files in the order of the data: :mod:`windows` keeps the input, :mod:`transforms` has the
additions before and after the products, :mod:`weights` brings the weights, :mod:`walk` goes through
tiles and channels, :mod:`kernel` multiplies and adds up, :mod:`drain` turns sums into activations,
:mod:`collect` puts these in order; :mod:`engine` is all of them, and :mod:`parameters` their size.
"""
