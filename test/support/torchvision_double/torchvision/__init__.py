"""The part of torchvision that the conversion of published weights uses, with small networks under its names."""
