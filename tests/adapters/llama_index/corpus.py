"""Ids and scores of nodes, for the tests of the LlamaIndex adapter."""

from llama_index.core.schema import NodeWithScore


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [one.node.node_id for one in nodes]


def ids_and_scores(nodes: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(one.node.node_id, one.score) for one in nodes]
