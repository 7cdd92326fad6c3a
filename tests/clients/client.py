"""Calls all RPCs with a generated client, and computes an export's SHA-256 as the contract documents it."""

import hashlib
import os
import uuid

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from userdata.v1 import import_service_pb2, import_service_pb2_grpc
from userdata.v1 import records_pb2 as records
from userdata.v1 import user_data_service_pb2 as service
from userdata.v1 import user_data_service_pb2_grpc

ARGS = '{"order":9007199254740993,"total":1.10}'
CONTENT = bytes(range(256)) * 1200
DEADLINE = 30

channel = grpc.insecure_channel(os.environ["USERDATA_TEST_SERVER"])
user_data = user_data_service_pb2_grpc.UserDataServiceStub(channel)
imports = import_service_pb2_grpc.ImportServiceStub(channel)
CREDENTIALS = [
    ("x-application-id", os.environ["USERDATA_TEST_APPLICATION"]),
    ("x-api-key", os.environ["USERDATA_TEST_API_KEY"]),
]


def call(method, request, metadata=CREDENTIALS):
    return method(request, metadata=metadata, timeout=DEADLINE)


def at(seconds):
    return Timestamp(seconds=1_760_000_000 + seconds, nanos=123_000_000)


def conversation():
    return records.Conversation(
        id="c1",
        agent_id="agent",
        title="",
        created_at=at(0),
        updated_at=at(9),
        message_count=2,
        total_input_tokens=10,
        total_output_tokens=20,
        total_tokens=30,
        messages=[
            records.Message(
                id="m1",
                conversation_id="c1",
                role=records.ROLE_USER,
                parts=[records.MessagePart(text=records.TextPart(text="Où est ma commande ?"))],
                created_at=at(1),
                updated_at=at(1),
                turn_context=records.TurnContext(values={"page": "orders", "locale": "fr", "query": ""}),
            ),
            records.Message(
                id="m2",
                conversation_id="c1",
                role=records.ROLE_ASSISTANT,
                parts=[
                    records.MessagePart(start=records.StartPart()),
                    records.MessagePart(reasoning=records.ReasoningPart(text="Look it up.")),
                    records.MessagePart(
                        tool_call=records.ToolCallPart(tool_call_id="t1", tool_name="find", args=ARGS, requires_approval=False)
                    ),
                    records.MessagePart(
                        tool_result=records.ToolResultPart(
                            tool_call_id="t1",
                            tool_name="find",
                            output=records.ToolOutput(type=records.TOOL_OUTPUT_TYPE_TEXT, value='"sent"'),
                        )
                    ),
                ],
                created_at=at(2),
                updated_at=at(2),
                model="model",
                input_tokens=0,
            ),
        ],
        feedback=[feedback("f1", "m2")],
    )


def feedback(id, message_id):
    return records.Feedback(
        id=id, agent_id="agent", message_id=message_id, vote=1, tags=["clear"], created_at=at(3), updated_at=at(3)
    )


def everything(user):
    """One user's records; what refers to others comes in a second request."""
    yield import_service_pb2.ImportUserDataRequest(
        user_token=user,
        conversations=[conversation()],
        feedback=[feedback("f2", "gone")],
        memories=[
            records.Memory(
                object_id="y1",
                text="Prefers French.",
                raw_extract="in French please",
                memory_type=records.MEMORY_TYPE_EPISODIC,
                episode=records.Episode(observation="o", thoughts="t", action="a", result="r"),
                keywords=["language"],
                app_id="app",
                user_id=user,
                created_at=at(4),
                updated_at=at(4),
            )
        ],
        uploads=[
            records.Upload(
                id="u1",
                file_name="bill.pdf",
                content_type="application/pdf",
                size_bytes=len(CONTENT),
                status="ready",
                created_at=at(5),
            )
        ],
        assistants=[records.Assistant(id="a1", name="Helper", status="active", created_at=at(6), updated_at=at(6))],
        sessions=[records.Session(id="s1", ip_address="192.0.2.1", user_agent="Browser", device="phone", created_at=at(7))],
    )
    yield import_service_pb2.ImportUserDataRequest(
        user_token=user,
        upload_contents=[records.UploadContent(upload_id="u1", data=CONTENT)],
        upload_embeddings=[records.UploadEmbedding(upload_id="u1", model="model", vector=[0.5, -1.0])],
        compaction_cache=[records.CompactionCacheEntry(id="k1", conversation_id="c1", text="An order.", created_at=at(8))],
    )


EVERYTHING = records.RecordCounts(
    conversations=1, messages=2, feedback=2, memories=1, uploads=1, assistants=1, sessions=1, compaction_cache=1
)


def export(user, **choices):
    """All records of a user in one response, with the summary."""
    whole = service.ExportUserDataResponse()
    request = service.ExportUserDataRequest(user_token=user, include_upload_content=True, **choices)
    for response in call(user_data.ExportUserData, request):
        assert not whole.HasField("summary"), "a response follows the summary"
        assert response.ByteSize() <= 1024 * 1024
        whole.MergeFrom(response)
    assert whole.HasField("summary"), "no summary: the export is incomplete"
    return whole


def field_of(number, data):
    """A short field of bytes."""
    assert number < 16 and len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def form(item):
    """The serialised form as the contract has it: this library also writes empty values of map entries."""
    if not (isinstance(item, records.Message) and "" in item.turn_context.values.values()):
        return item.SerializeToString(deterministic=True)
    number = records.Message.DESCRIPTOR.fields_by_name["turn_context"].number
    before, after = records.Message(), records.Message()
    before.CopyFrom(item)
    after.CopyFrom(item)
    for field, _ in item.ListFields():
        (after if field.number <= number else before).ClearField(field.name)
    before.ClearField("turn_context")
    entries = b"".join(
        field_of(1, field_of(1, key.encode()) + (field_of(2, value.encode()) if value else b""))
        for key, value in sorted(item.turn_context.values.items())
    )
    return before.SerializeToString() + field_of(number, entries) + after.SerializeToString()


def digest(whole):
    """The summary's SHA-256 and bytes, computed from the records as the contract says (for at most one conversation)."""
    items = []
    for each in whole.conversations:
        head = records.Conversation()
        head.CopyFrom(each)
        head.ClearField("messages")
        head.ClearField("feedback")
        items += [(1, head), *((15, message) for message in each.messages), *((16, vote) for vote in each.feedback)]
    items += [(2, item) for item in whole.feedback]
    items += [(3, item) for item in whole.memories]
    items += [(4, item) for item in whole.uploads]
    items += [(5, item) for item in whole.upload_contents]
    items += [(6, item) for item in whole.assistants]
    items += [(7, item) for item in whole.sessions]
    items += [(8, item) for item in whole.compaction_cache]
    sha256, size = hashlib.sha256(), 0
    for field, item in items:
        data = form(item)
        sha256.update(bytes([field]) + hashlib.sha256(data).digest())
        size += len(data)
    return sha256.hexdigest(), size


def refusal(method, request, metadata=CREDENTIALS):
    """The code of a call that must fail, its ErrorInfo and its BadRequest."""
    try:
        response = call(method, request, metadata)
        list(response) if hasattr(response, "__next__") else None
    except grpc.RpcError as error:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in rpc_status.from_call(error).details:
            detail.Unpack(info) or detail.Unpack(bad)
        assert info.domain == "userdata", info
        return error.code(), info.reason, {violation.field for violation in bad.field_violations}
    raise AssertionError("the call should have been refused")


def same(actual, expected):
    assert actual == expected, f"\n--- expected\n{expected}\n--- actual\n{actual}"


ALICE, BOB = "python-alice", "python-bob"

for _ in range(2):  # the second time changes nothing
    taken = call(imports.ImportUserData, (request for user in (ALICE, BOB) for request in everything(user)))
    same(taken.rejected, 0)
    twice = records.RecordCounts()
    for field, count in EVERYTHING.ListFields():
        setattr(twice, field.name, 2 * count)
    same(taken.imported, twice)

before = export(ALICE)
sent, _ = everything(ALICE)
same(list(before.conversations), list(sent.conversations))
same(before.conversations[0].messages[1].parts[2].tool_call.args, ARGS)
for kind in ("feedback", "memories", "uploads", "assistants", "sessions"):
    same(list(getattr(before, kind)), list(getattr(sent, kind)))
same([entry.text for entry in before.compaction_cache], ["An order."])
same(b"".join(piece.data for piece in before.upload_contents), CONTENT)
same([piece.offset for piece in before.upload_contents], [0, 256 * 1024])
same(before.summary.counts, EVERYTHING)
same((before.summary.sha256, before.summary.bytes), digest(before))
bob = export(BOB)

with_content = service.ExportUserDataRequest(user_token=ALICE, include_upload_content=True)
first, *rest = call(user_data.ExportUserData, with_content)
assert rest, "everything came in one response"
with_content.resume_token = first.resume_token
same(list(call(user_data.ExportUserData, with_content)), rest)

status = service.GetErasureStatusRequest(user_token=ALICE)
same(call(user_data.GetErasureStatus, status).epoch, 0)
request = service.DeleteUserMessagesRequest(user_token=ALICE, validate_only=True)
preview = call(user_data.DeleteUserMessages, request)
same((preview.messages_deleted, preview.HasField("remaining")), (2, False))
request = service.DeleteUserMessagesRequest(user_token=ALICE, plan_digest=preview.plan_digest, request_id=str(uuid.uuid4()))
deleted = call(user_data.DeleteUserMessages, request)
same(call(user_data.DeleteUserMessages, request), deleted)
same(call(user_data.GetErasureStatus, status), service.GetErasureStatusResponse(epoch=1))
same(
    refusal(user_data.DeleteUserMessages, service.DeleteUserMessagesRequest(user_token=BOB, request_id=request.request_id))[:2],
    (grpc.StatusCode.FAILED_PRECONDITION, "ERROR_REASON_REQUEST_ID_REUSED"),
)
late = import_service_pb2.ImportUserDataRequest(user_token=ALICE, sessions=sent.sessions, observed_epoch=0)
same(call(imports.ImportUserData, iter([late])).rejected, 1)
same((deleted.messages_deleted, deleted.conversations_affected, deleted.compaction_cache_purged), (2, 1, 1))
same(deleted.remaining, service.Remaining())
same((deleted.residue.memories, deleted.residue.sessions), (1, 1))
(left,) = export(ALICE).conversations
same((len(left.messages), left.message_count, left.total_tokens, len(left.feedback)), (0, 0, 30, 1))

every_scope = service.ScopedDeleteRequest(
    user_token=ALICE, dialogues=True, vault=True, memory=True, assistants=True, feedback=True, sessions=True
)
same(
    call(user_data.ScopedDelete, every_scope),
    service.ScopedDeleteResponse(
        dialogues_forgotten=1,
        uploads_deleted=1,
        bytes_freed=len(CONTENT),
        memory_deleted=1,
        assistants_deleted=1,
        feedback_deleted=2,
        sessions_deleted=1,
        remaining=service.Remaining(),
    ),
)
same(call(user_data.ScopedDelete, every_scope), service.ScopedDeleteResponse(remaining=service.Remaining()))

after = export(ALICE)
same(after.summary.counts, records.RecordCounts())
same((after.summary.sha256, after.summary.bytes), digest(service.ExportUserDataResponse()))
(forgotten,) = export(ALICE, include_deleted=True).conversations
assert forgotten.HasField("forgotten_at")
same(export(BOB).summary.sha256, bob.summary.sha256)

bad_key = [CREDENTIALS[0], ("x-api-key", CREDENTIALS[1][1][:-1] + "~")]
for method, request in (
    (user_data.ExportUserData, service.ExportUserDataRequest(user_token=BOB)),
    (user_data.DeleteUserMessages, service.DeleteUserMessagesRequest(user_token=BOB)),
    (user_data.ScopedDelete, every_scope),
    (imports.ImportUserData, iter(())),
):
    same(
        refusal(method, request, bad_key)[:2],
        (grpc.StatusCode.UNAUTHENTICATED, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED"),
    )

code, reason, fields = refusal(user_data.ScopedDelete, service.ScopedDeleteRequest(user_token=BOB))
same((code, reason), (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_INVALID_REQUEST"))
assert fields and fields <= set(service.ScopedDeleteRequest.DESCRIPTOR.fields_by_name), fields
code, _, fields = refusal(user_data.ExportUserData, service.ExportUserDataRequest())
same((code, fields), (grpc.StatusCode.INVALID_ARGUMENT, {"user_token"}))
same(export(BOB).summary.sha256, bob.summary.sha256)
