"""The messages of the gRPC service `v1.ExternalJWTSigner`, described in code and not generated.

Names and numbers of the fields are those of Kubernetes. Source: KEP-740, k8s.io/externaljwt apis/v1.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

SERVICE = "v1.ExternalJWTSigner"
_FILE = "podpass/external_signer.proto"
_Field = descriptor_pb2.FieldDescriptorProto
# By message: name, number, type of each field; a text is the name of a message, `*` before it repeats.
_MESSAGES: dict[str, list[tuple[str, int, Any]]] = {
    "SignJWTRequest": [("claims", 1, _Field.TYPE_STRING)],
    "SignJWTResponse": [("header", 1, _Field.TYPE_STRING), ("signature", 2, _Field.TYPE_STRING)],
    "FetchKeysRequest": [],
    "FetchKeysResponse": [
        ("keys", 1, "*.v1.Key"),
        ("data_timestamp", 2, ".google.protobuf.Timestamp"),
        ("refresh_hint_seconds", 3, _Field.TYPE_INT64),
    ],
    "Key": [
        ("key_id", 1, _Field.TYPE_STRING),
        ("key", 2, _Field.TYPE_BYTES),
        ("exclude_from_oidc_discovery", 3, _Field.TYPE_BOOL),
    ],
    "MetadataRequest": [],
    "MetadataResponse": [("max_token_expiration_seconds", 1, _Field.TYPE_INT64)],
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name=_FILE, package="v1", syntax="proto3", dependency=[timestamp_pb2.DESCRIPTOR.name]
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number, label=_Field.LABEL_OPTIONAL)
            if not isinstance(kind, str):
                field.type = kind
                continue
            if kind.startswith("*"):
                field.label = _Field.LABEL_REPEATED
            field.type, field.type_name = _Field.TYPE_MESSAGE, kind.removeprefix("*")
    # A pool of its own: another program in this process may have a package `v1`, too.
    pool = descriptor_pool.DescriptorPool()
    timestamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    pool.Add(timestamp)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v1.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _build()
SignJWTRequest = _CLASSES["SignJWTRequest"]
SignJWTResponse = _CLASSES["SignJWTResponse"]
FetchKeysRequest = _CLASSES["FetchKeysRequest"]
FetchKeysResponse = _CLASSES["FetchKeysResponse"]
MetadataRequest = _CLASSES["MetadataRequest"]
MetadataResponse = _CLASSES["MetadataResponse"]
