"""A family of templates: functions by their names."""

from collections.abc import Callable

from generators.long_context.tables.draw import Ask, Draw

Template = Callable[[Draw], Ask]
Family = dict[str, Template]


def into(family: Family) -> Callable[[Template], Template]:
    """Adds a function to a family under its own name."""

    def add(template: Template) -> Template:
        family[template.__name__] = template
        return template

    return add
