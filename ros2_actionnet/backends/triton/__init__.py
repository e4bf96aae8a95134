"""Inference on a server that speaks the KServe v2 protocol over gRPC, such as NVIDIA's Triton.

backend     loads a network: the session of the form in which it is served
address     HOST:PORT[/MODEL], and TLS
connection  one channel that is made anew after a failure; every call has a deadline
contract    what a served model states of its network, compared with the network here
session     windows in, scores out
sequences   the same for a model that keeps the window on the server: new frames in, scores out
repository  writes the model repository that the server reads
models/     what Triton's Python backend runs, copied into the repository
"""
