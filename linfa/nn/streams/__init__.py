"""The laws of a module graph: its streams, who writes into them, who reads from them, and what has no law."""

from __future__ import annotations

from linfa.nn.streams.identity import Identity, master_identity
from linfa.nn.streams.law import Refusal, StreamLaw, Streams, laws

__all__ = ["Identity", "Refusal", "StreamLaw", "Streams", "laws", "master_identity"]
