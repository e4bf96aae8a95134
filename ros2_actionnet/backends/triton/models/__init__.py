"""Models of Triton's Python backend, copied into a model repository: each file stands alone there, as model.py.

They know nothing of this package, and run with the Python, NumPy and libraries of the server.
"""
