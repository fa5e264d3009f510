"""gRPC's reflection: which services there are, and the files that describe them."""

from google.protobuf.descriptor import FileDescriptor

from lenet_serve.protocol.messages import FILES, METHODS, POOL, SERVICES, Message

_NOT_FOUND, _UNIMPLEMENTED = 5, 12  # codes of gRPC, which `ErrorResponse` carries as numbers


def reflect(path: str, request: Message) -> bytes:
    """Answer one ``ServerReflectionRequest``.

    Args:
        path: The path of the method that was called: of ``v1`` or of ``v1alpha``.
        request: The request.

    Returns:
        The ``ServerReflectionResponse``, serialized.
    """
    answer = METHODS[path].response(valid_host=request.host, original_request=request)
    question = request.WhichOneof("message_request")
    try:
        if question == "list_services":
            for name in SERVICES:
                answer.list_services_response.service.add(name=name)
        elif question == "file_by_filename":
            _describe(answer, POOL.FindFileByName(request.file_by_filename))
        elif question == "file_containing_symbol":
            _describe(answer, POOL.FindFileContainingSymbol(request.file_containing_symbol))
        else:
            answer.error_response.error_code = _UNIMPLEMENTED
            answer.error_response.error_message = "expected services, a file or a symbol"
    except KeyError:
        answer.error_response.error_code = _NOT_FOUND
        answer.error_response.error_message = f"{question}: expected one that is served"
    return answer.SerializeToString()  # type: ignore[no-any-return]


def _describe(answer: Message, file: FileDescriptor) -> None:
    """Add a file and those that it imports."""
    for imported in (file, *file.dependencies):
        answer.file_descriptor_response.file_descriptor_proto.append(FILES[imported.name])
