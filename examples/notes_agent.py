"""An agent with a memory: one instance of the class keeps the notes."""

from __future__ import annotations

from flowcore.native import Contents, ToolError, prompt, resource, tool


class Notes:
    """Notes by title, kept while the agent runs."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    @tool(idempotent=True)
    async def write(self, title: str, text: str) -> str:
        """Write a note; one of the same title is replaced."""
        self.notes[title] = text
        return f"noted: {title}"

    @tool(read_only=True)
    async def read(self, title: str) -> str:
        """Read a note."""
        if title not in self.notes:
            raise ToolError(
                f"there is no note {title!r}; there are: {', '.join(self.notes) or 'none'}"
            )
        return self.notes[title]

    @tool(read_only=True)
    async def search(self, text: str, limit: int = 10) -> list[str]:
        """Titles of the notes that hold a text."""
        found = [title for title, note in self.notes.items() if text.lower() in note.lower()]
        return found[:limit]

    @resource("notes://all", mime_type="text/plain")
    async def everything(self) -> Contents:
        """All notes as one text."""
        text = "\n\n".join(f"# {title}\n{note}" for title, note in self.notes.items())
        return Contents("notes://all", text, "text/plain")

    @prompt()
    async def summarise(self, topic: str) -> str:
        """Ask for a summary of what the notes say about a topic."""
        return f"Summarise what these notes say about {topic}:\n\n" + "\n\n".join(
            self.notes.values()
        )
