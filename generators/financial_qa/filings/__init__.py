"""From a filing's HTML to markdown, Items and facts."""
