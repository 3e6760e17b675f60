"""What a chat model is asked to do: six kinds of tasks, from repeating to inventing."""

from __future__ import annotations

PASSAGES = (
    "The harbour of Lund was built in 1874 by a company of grain merchants. It had two long piers "
    "of oak and granite, a crane that was driven by steam, and a small lighthouse at the end of "
    "the western pier. In the winter of 1903 a storm broke the eastern pier in two, and the "
    "merchants decided not to repair it. Since then only fishing boats have used the harbour, and "
    "every summer the children of the village jump from the broken stones into the sea.",
    "Bread rises because yeast eats the sugar in the dough and gives off a gas. The gas is caught "
    "in a net of gluten, which forms when flour and water are kneaded together. A warm kitchen "
    "makes the yeast work faster, a cold one makes it slower, and a slow dough tastes better "
    "because the yeast has time to make acids and alcohol. In the oven the gas expands, the yeast "
    "dies, and the net of gluten becomes the crumb of the bread.",
    "The night train to the north leaves the city at ten past nine. It has six sleeping cars, one "
    "dining car and a wagon for bicycles. The dining car closes at eleven, but the attendant sells "
    "tea and sandwiches through the night. At four in the morning the train stops for half an hour "
    "at the border, where the engine is changed. It reaches the coast at seven, an hour before the "
    "first ferry leaves for the islands.",
    "Bees tell each other where flowers are by a dance. A bee that has found food runs in a "
    "straight line and shakes its body, then turns back in a half circle and runs again. The "
    "direction of the line shows the way with respect to the sun, and the length of the run tells "
    "how far it is. Other bees follow the dancer in the dark of the hive, touch her with their "
    "feelers, and then fly to the place that she has described.",
)

FUNCTIONS = (
    "def average(values):\n    total = 0\n    count = 0\n    for value in values:\n"
    "        total = total + value\n        count = count + 1\n    if count == 0:\n"
    "        return 0\n    return total / count",
    "def find_user(users, name):\n    for user in users:\n        if user.name == name:\n"
    "            print('found', user.name)\n            return user\n"
    "    print('not found', name)\n    return None",
    "def read_settings(path):\n    settings = {}\n    with open(path) as file:\n"
    "        for line in file:\n            if line.startswith('#'):\n                continue\n"
    "            key, value = line.split('=')\n            settings[key.strip()] = value.strip()\n"
    "    return settings",
    "def largest_word(text):\n    words = text.split(' ')\n    largest = ''\n"
    "    for word in words:\n        if len(word) > len(largest):\n            largest = word\n"
    "    return largest",
)

_CHANGES = (
    "Rename the variable total to sum_of_values",
    "Rename the parameter name to wanted_name",
    "Rename the variable settings to found",
    "Rename the variable largest to longest",
)
_QUESTIONS = (
    "Who built the harbour, and what happened to the eastern pier?",
    "Why does a slow dough taste better?",
    "What happens at the border, and when does the train reach the coast?",
    "What do the direction and the length of the run tell?",
)
_STORIES = ("a lighthouse keeper", "a baker and a cat", "a night on a train", "a lost bee")
_CHATS = (
    "What should I cook tonight? I have rice, eggs and some vegetables.",
    "Can you give me some advice on how to learn to swim as an adult?",
    "I feel tired every afternoon. What could I change in my day?",
    "What is a good way to plan a small garden on a balcony?",
)

TASKS: dict[str, tuple[str, ...]] = {
    "summarize a passage": tuple(f"Summarize this text:\n\n{each}" for each in PASSAGES),
    "correct and repeat": tuple(
        f"Correct the spelling of this text and repeat it:\n\n{each}" for each in PASSAGES
    ),
    "edit a function": tuple(
        f"{change} in this function, and show the whole function:\n\n```python\n{code}\n```"
        for change, code in zip(_CHANGES, FUNCTIONS, strict=True)
    ),
    "question over a passage": tuple(
        f"{passage}\n\n{question}" for passage, question in zip(PASSAGES, _QUESTIONS, strict=True)
    ),
    "free story": tuple(f"Write a short story about {each}." for each in _STORIES),
    "free chat": _CHATS,
}

OTHER_EDITS = (
    "Change the port to 9000 in this configuration, and show the whole configuration:\n\n```json\n"
    '{\n  "name": "server",\n  "host": "127.0.0.1",\n  "port": 8080,\n  "workers": 4,\n'
    '  "log": {"level": "info", "file": "server.log"}\n}\n```',
    "Rename the class Animal to Creature in this code, and show the whole code:\n\n```python\n"
    "class Animal:\n    def __init__(self, name):\n        self.name = name\n\n"
    "    def speak(self):\n        return self.name + ' makes a noise'\n\n"
    "a = Animal('Rex')\nprint(a.speak())\n```",
    "Replace the name Anna by Maria in this letter, and show the whole letter:\n\nDear Anna,\n\n"
    "thank you for the books that you sent me last week. I have read the first of them already, "
    "and I like it very much. Next month I will be in your town for two days. Shall we meet for "
    "lunch, Anna? I would like to hear about your new work.\n\nYours,\nPeter",
    "Change the past tense to the present tense in this text, and show the whole text:\n\n"
    "The old man walked to the shop every morning. He bought bread and milk, and he talked to the "
    "woman behind the counter. Then he went home, sat by the window and read the newspaper until "
    "noon.",
)
"""Edits of other things than functions, which a small model rewrites more often than it edits."""
