"""The data contracts: what a conversation, a record, a verdict and a config are. Imports nothing of ours."""

from schemas.base import Answer, Config, Data, Json, JsonObject, Seed, canonical_json, content_hash
from schemas.messages import Function, Message, ToolCall, assistant, system, tool, user
from schemas.records import Provenance, Record, Usage, Verdict, conversation_hash
from schemas.tools import FunctionSpec, Tool

__all__ = [
    "Answer",
    "Config",
    "Data",
    "Function",
    "FunctionSpec",
    "Json",
    "JsonObject",
    "Message",
    "Provenance",
    "Record",
    "Seed",
    "Tool",
    "ToolCall",
    "Usage",
    "Verdict",
    "assistant",
    "canonical_json",
    "content_hash",
    "conversation_hash",
    "system",
    "tool",
    "user",
]
