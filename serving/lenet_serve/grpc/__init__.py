"""gRPC on the network, by grpcio: the server, who answers each method, and the threads."""

from lenet_serve.grpc.server import GrpcServer

__all__ = ["GrpcServer"]
