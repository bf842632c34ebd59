"""From a trained network to an image: prune, share, calibrate, count every byte."""
