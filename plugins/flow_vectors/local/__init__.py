"""What indexes in files of this node share: rows, segments, graphs, saving, merging in the background.

An index is a *front*, a small table in memory that is searched exactly, and *segments*, files that never
change: rows sorted by id, mapped into memory, and beside them, where a plugin makes one, a *graph* that finds
candidates among them. What is removed or replaced in a segment is marked as dead. When the front has grown it
becomes a segment; segments are merged and their graphs built in a thread, while searches go on with the old.

| file | what it holds |
|---|---|
| `state` | space, position, names of segments, who is dead in them, the front; renamed into place by `save` |
| `NAME.rows` | a segment's ids and vectors |
| `NAME.graph`, `NAME.seal` | its graph, as its library writes it; what it was made with, and its checksums |

Everything that is read is checked by checksums first. A graph that is damaged is built again from its rows;
where anything else is, the whole index counts as not there, and says so.
"""
