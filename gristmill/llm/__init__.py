"""Model calls: roles, endpoints, replies, structured answers."""

from gristmill.llm.network import Network
from gristmill.llm.reply import Reply
from gristmill.llm.roles import Role, Roles, Transport
from gristmill.llm.structured import Shape, answer_shape, object_shape

__all__ = ["Network", "Reply", "Role", "Roles", "Shape", "Transport", "answer_shape", "object_shape"]
