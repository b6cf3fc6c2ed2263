"""Question templates that no picture of a single coloured shape can answer, by kind: one list for training, a disjoint one for evaluation.

`{s}` is a name of the shape ("shape", "figure", or what it truly is: "circle", "blue shape"), `{p}` one of the picture ("image",
"picture", "drawing"). A line may end in `| reason`; without one the kind's reasons serve. Many begin like answerable questions, so
that the opening words do not give the kind away. Evaluation sentences are new, their words mostly are not.
"""

from __future__ import annotations

CONTEXT_TRAIN = """
who drew the {s}? | the picture does not say who made it
who made the {s} in the {p}? | the picture does not say who made it
what is the name of the person who drew the {s}? | the picture does not say who made it
was the {p} made by a child? | the picture does not say who made it
is the {p} from a teacher? | the picture does not say who made it
how old was the artist of the {p}? | the picture does not say who made it
does the {p} belong to a friend of the artist? | the picture does not say who made it
whose hand drew the {s}? | the picture does not say who made it
did one person make the {p} alone? | the picture does not say who made it
which pen did the artist take for the {s}? | the picture does not say who made it
where was the {p} made? | the picture does not say where it is from
where is the {p} kept now? | the picture does not say where it is from
in which city was the {s} drawn? | the picture does not say where it is from
is the {s} in the {p} from a book? | the picture does not say where it is from
which country does the {p} come from? | the picture does not say where it is from
was the {p} printed in a school? | the picture does not say where it is from
on which page of the book is the {p}? | the picture does not say where it is from
does the {p} hang in a museum? | the picture does not say where it is from
from which shop does the {p} come? | the picture does not say where it is from
what room was the {s} drawn in? | the picture does not say where it is from
when was the {s} drawn? | the picture does not show other times
what color was the {s} before? | the picture does not show other times
what color will the {s} be tomorrow? | the picture does not show other times
what shape was in the {p} yesterday? | the picture does not show other times
what shape will be drawn next? | the picture does not show other times
is the {s} going to be moved later? | the picture does not show other times
how long did it take to draw the {s}? | the picture does not show other times
what happened before the {p} was made? | the picture does not show other times
in what year was the {p} made? | the picture does not show other times
was the {s} drawn in the morning? | the picture does not show other times
how many times was the {p} changed? | the picture does not show other times
will the {s} still be here next year? | the picture does not show other times
is the {p} older than ten years? | the picture does not show other times
why was the {s} drawn? | the picture does not say what it is for
why is the {s} in the {p}? | the picture does not say what it is for
what is the {s} for? | the picture does not say what it is for
what is the title of the {p}? | the picture does not say what it is for
what did the artist want to show with the {s}? | the picture does not say what it is for
is the {p} part of a test? | the picture does not say what it is for
does the {s} stand for a company? | the picture does not say what it is for
for whom was the {p} made? | the picture does not say what it is for
how much money was paid for the {p}? | the picture does not say what it is for
what is the price of the {p}? | the picture does not say what it is for
is there a reason for the color of the {s}? | the picture does not say what it is for
tell me who drew the {s}. | the picture does not say who made it
please name the artist of the {p}. | the picture does not say who made it
can you name the place where the {p} was made? | the picture does not say where it is from
the {p} was made in which year? | the picture does not show other times
do you see why the {s} was drawn? | the picture does not say what it is for
"""

CONTEXT_TEST = """
who paid for the {p}? | the picture does not say who made it
what is the name of the artist of the {p}? | the picture does not say who made it
was the {s} drawn by a teacher? | the picture does not say who made it
how old is the person who made the {p}? | the picture does not say who made it
did a child make the {s} in the {p}? | the picture does not say who made it
where was the {s} drawn? | the picture does not say where it is from
is the {p} kept in a museum? | the picture does not say where it is from
which book is the {p} from? | the picture does not say where it is from
does the {p} come from a school? | the picture does not say where it is from
in which room was the {p} made? | the picture does not say where it is from
when will the {s} be moved? | the picture does not show other times
what color was the {s} yesterday? | the picture does not show other times
what shape will be in the {p} next year? | the picture does not show other times
is the {s} in the {p} older than the artist? | the picture does not show other times
what happened to the {s} later? | the picture does not show other times
how long ago was the {p} made? | the picture does not show other times
why did the artist draw the {s}? | the picture does not say what it is for
what is the reason for the {s} in the {p}? | the picture does not say what it is for
is the {p} for a friend? | the picture does not say what it is for
what was the {p} made for? | the picture does not say what it is for
does the {p} have a title? | the picture does not say what it is for
how much is the {p} worth in money? | the picture does not say what it is for
tell me where the {s} was drawn. | the picture does not say where it is from
can you name the artist of the {s}? | the picture does not say who made it
please tell me what the {p} is for. | the picture does not say what it is for
"""

SUBJECTIVE_TRAIN = """
is the {s} beautiful? | it is a matter of taste
is the {s} in the {p} nice? | it is a matter of taste
is the {p} boring? | it is a matter of taste
do you like the {s}? | it is a matter of taste
what do you like most about the {p}? | it is a matter of taste
does the color fit the {s} well? | it is a matter of taste
which color would look best on the {s}? | it is a matter of taste
what color should the {s} be? | it is a matter of opinion
what shape should be in the {p}? | it is a matter of opinion
what is the best thing about the {s}? | it is a matter of taste
is this the best color for the {s}? | it is a matter of taste
how pretty is the {s}? | it is a matter of taste
how interesting is the {p}? | it is a matter of taste
does the {p} look modern? | it is a matter of taste
is the color of the {s} too loud? | it is a matter of taste
would the {p} look good on a wall? | it is a matter of taste
are you happy with the {s}? | people feel differently about it
how does the {s} make you feel? | people feel differently about it
what feeling does the {p} give? | people feel differently about it
does the {s} look sad? | people feel differently about it
is the {s} friendly? | people feel differently about it
is there something funny about the {s}? | people feel differently about it
does the {p} make people calm? | people feel differently about it
what does the {s} mean to you? | people feel differently about it
which memory does the {p} bring back? | people feel differently about it
what mood does the color of the {s} have? | people feel differently about it
is the {p} exciting? | people feel differently about it
would you be proud of the {p}? | people feel differently about it
does the {s} deserve to be famous? | it is a matter of opinion
should the {s} be in the {p}? | it is a matter of opinion
should children look at the {p}? | it is a matter of opinion
is it right to draw a {s} like this? | it is a matter of opinion
is the {p} good art? | it is a matter of opinion
is it fair to call the {p} art? | it is a matter of opinion
what is the true meaning of the {s}? | it is a matter of opinion
does the {p} tell us something about life? | it is a matter of opinion
can a {s} be honest? | it is a matter of opinion
how much better could the {p} be? | it is a matter of opinion
which is more important, the {s} or its color? | it is a matter of opinion
would the world be poorer without the {s}? | it is a matter of opinion
who should own the {p}? | it is a matter of opinion
does the {p} need more love? | it is a matter of opinion
tell me how the {s} makes you feel. | people feel differently about it
please name the best thing about the {p}. | it is a matter of taste
can you say what the {s} should look like? | it is a matter of opinion
the {s} would look best in which color? | it is a matter of taste
"""

SUBJECTIVE_TEST = """
is the {p} pretty? | it is a matter of taste
is the {s} in the {p} beautiful? | it is a matter of taste
do you like the color of the {s}? | it is a matter of taste
what color would look nice on the {s}? | it is a matter of taste
which shape is the most beautiful? | it is a matter of taste
does the {s} fit the {p} well? | it is a matter of taste
how boring is the {s}? | it is a matter of taste
is the color of the {s} good? | it is a matter of taste
what is the most interesting thing about the {p}? | it is a matter of taste
how do you feel about the {s}? | people feel differently about it
what mood does the {p} give you? | people feel differently about it
is the {s} sad? | people feel differently about it
does the {p} make you happy? | people feel differently about it
does the {s} look friendly? | people feel differently about it
is there a feeling in the {p}? | people feel differently about it
should the {s} have a better color? | it is a matter of opinion
what shape should the artist draw? | it is a matter of opinion
is the {p} important art? | it is a matter of opinion
does the {s} have a true meaning? | it is a matter of opinion
is it right to call the {s} boring? | it is a matter of opinion
would you call the {p} honest? | it is a matter of opinion
what does the {p} tell us about people? | it is a matter of opinion
tell me what you like about the {s}. | it is a matter of taste
can you name the mood of the {p}? | people feel differently about it
please tell me which color is best for the {s}. | it is a matter of taste
"""

VAGUE_TRAIN = """
is the other one closer? | there is nothing to compare it with
what color is the other one? | there is nothing to compare it with
what shape is the other one in the {p}? | there is nothing to compare it with
is the {s} bigger than the other one? | there is nothing to compare it with
which of the two is larger? | there is nothing to compare it with
which one is the first? | there is nothing to compare it with
is this one darker than the last one? | there is nothing to compare it with
does the second one have the same color? | there is nothing to compare it with
is the {s} better drawn than the rest? | there is nothing to compare it with
what is the color of the next one? | there is nothing to compare it with
which one of them is it? | it is not clear what is meant
how big is that thing next to the {s}? | it is not clear what is meant
what color is the thing behind it? | it is not clear what is meant
what is the shape of the thing over there? | it is not clear what is meant
is it like the one from before? | it is not clear what is meant
is there as much as there was? | it is not clear what is meant
does it go with the others? | it is not clear what is meant
what about that one over there? | it is not clear what is meant
is that the one they meant? | it is not clear what is meant
can it do the thing? | it is not clear what is meant
are they the same as those? | it is not clear what is meant
how is the {s} compared to that? | it is not clear what is meant
does the {p} contain enough of it? | it is not clear what is meant
is the {s} in the {p} the usual kind? | it is not clear what is meant
is it the right one? | it is not clear what is meant
what does the {s} do with it? | it is not clear what is meant
where did the thing next to it go? | it is not clear what is meant
is there more of it than here? | it is not clear what is meant
how big is the {s} really? | the picture has no scale
how many meters wide is the {s}? | the picture has no scale
how far away is the {s}? | the picture has no scale
what is the size of the {s} in meters? | the picture has no scale
is the {s} more than one meter wide? | the picture has no scale
is the {s} nearer than ten meters? | the picture has no scale
how long is the {s} in real life? | the picture has no scale
would the {s} fit in a hand? | the picture has no scale
does the {s} have its normal size? | the picture has no scale
what is the real size of the {p}? | the picture has no scale
is the {s} larger than a house? | the picture has no scale
is the {s} as tall as a person? | the picture has no scale
how thick is the {s}? | the picture has no scale
how deep is the {s}? | the picture has no scale
tell me the color of the other one. | there is nothing to compare it with
please name the one next to it. | it is not clear what is meant
can you see if it is the same one? | it is not clear what is meant
the {s} is how many meters wide? | the picture has no scale
"""

VAGUE_TEST = """
is the other one larger? | there is nothing to compare it with
what color is the second one? | there is nothing to compare it with
what shape is the next one? | there is nothing to compare it with
is the {s} darker than the other one? | there is nothing to compare it with
which of them is the first one? | there is nothing to compare it with
does the last one have the same shape? | there is nothing to compare it with
is this one closer than the rest? | there is nothing to compare it with
what is the color of that thing over there? | it is not clear what is meant
how big is the one behind it? | it is not clear what is meant
is the {s} like the ones from before? | it is not clear what is meant
what is the thing next to it? | it is not clear what is meant
is it the one over there? | it is not clear what is meant
does the {s} go with that? | it is not clear what is meant
is there enough of it in the {p}? | it is not clear what is meant
are those the same as the others? | it is not clear what is meant
how wide is the {s} in meters? | the picture has no scale
is the {s} as big as a house? | the picture has no scale
what is the normal size of the {s}? | the picture has no scale
how tall is the {s} in real life? | the picture has no scale
is the {s} more than ten meters away? | the picture has no scale
would a person fit in the {s}? | the picture has no scale
is the {s} really one meter long? | the picture has no scale
tell me the shape of the other one. | there is nothing to compare it with
can you name the thing over there? | it is not clear what is meant
please tell me how many meters long the {s} is. | the picture has no scale
"""

MODALITY_TRAIN = """
what sound does the {s} make? | a picture has no sound
is the {s} loud? | a picture has no sound
does the {s} make a noise? | a picture has no sound
what would we hear near the {s}? | a picture has no sound
is there music in the {p}? | a picture has no sound
how quiet is the {s}? | a picture has no sound
what song plays while the {p} is shown? | a picture has no sound
can you hear the {s} in the {p}? | a picture has no sound
what does the {s} smell like? | a picture has no smell
does the {s} smell good? | a picture has no smell
is there a smell of paint in the {p}? | a picture has no smell
how strong is the smell of the {s}? | a picture has no smell
is the smell of the {p} fresh? | a picture has no smell
which flower smells like the {s}? | a picture has no smell
does the {p} smell of smoke? | a picture has no smell
what does the {s} taste like? | a picture has no taste
is the {s} sweet? | a picture has no taste
does the {s} taste of salt? | a picture has no taste
how sour is the {s}? | a picture has no taste
would the {s} taste bitter? | a picture has no taste
which fruit tastes like the {s}? | a picture has no taste
how heavy is the {s}? | a picture has no weight
what is the weight of the {s}? | a picture has no weight
is the {s} heavy? | a picture has no weight
does the {s} weigh more than a stone? | a picture has no weight
how many grams does the {s} weigh? | a picture has no weight
can one finger lift the {s}? | a picture has no weight
is the {s} lighter than water? | a picture has no weight
what is the temperature of the {s}? | a picture has no temperature
is the {s} warm? | a picture has no temperature
is the {s} in the {p} cold? | a picture has no temperature
how hot is the {s}? | a picture has no temperature
does the {s} feel cool in the morning? | a picture has no temperature
how many degrees does the {s} have? | a picture has no temperature
would the {s} burn a hand? | a picture has no temperature
is the {s} soft? | a picture cannot be touched
is the {s} smooth to the touch? | a picture cannot be touched
what does the {s} feel like? | a picture cannot be touched
does the {s} feel wet? | a picture cannot be touched
how hard is the {s}? | a picture cannot be touched
is the paper of the {p} rough? | a picture cannot be touched
would the {s} bend under a finger? | a picture cannot be touched
tell me what the {s} sounds like. | a picture has no sound
please name the smell of the {p}. | a picture has no smell
can you tell how heavy the {s} is? | a picture has no weight
the {s} is how warm? | a picture has no temperature
"""

MODALITY_TEST = """
what noise does the {s} make? | a picture has no sound
does the {s} make a loud sound? | a picture has no sound
is there a sound in the {p}? | a picture has no sound
what can you hear in the {p}? | a picture has no sound
how loud is the {s}? | a picture has no sound
what is the smell of the {s}? | a picture has no smell
does the {p} smell fresh? | a picture has no smell
is there a smell in the {p}? | a picture has no smell
does the {s} smell like a flower? | a picture has no smell
what would the {s} taste of? | a picture has no taste
does the {s} taste sweet? | a picture has no taste
is the {s} in the {p} sour? | a picture has no taste
how much does the {s} weigh? | a picture has no weight
is the {s} heavier than a stone? | a picture has no weight
what is the weight of the {s} in grams? | a picture has no weight
is the {s} hot? | a picture has no temperature
what temperature does the {s} have? | a picture has no temperature
how cold is the {s}? | a picture has no temperature
does the {s} feel warm? | a picture has no temperature
is the {s} wet? | a picture cannot be touched
does the {s} feel soft? | a picture cannot be touched
how smooth is the {s}? | a picture cannot be touched
is the {s} hard to the touch? | a picture cannot be touched
tell me what the {s} smells like. | a picture has no smell
can you name the sound of the {s}? | a picture has no sound
please tell me how warm the {s} is. | a picture has no temperature
"""


def parse(block: str) -> tuple[tuple[str, str], ...]:
    """(template, reason) per line of a block; the reason is empty where the line gives none."""
    rows = (line.partition("|") for line in block.strip().splitlines())
    return tuple((template.strip(), reason.strip()) for template, _, reason in rows)


SEEN = {
    "context-dependent": parse(CONTEXT_TRAIN),
    "subjective": parse(SUBJECTIVE_TRAIN),
    "vague": parse(VAGUE_TRAIN),
    "other-modality": parse(MODALITY_TRAIN),
}
"""Templates by kind that training may meet."""

UNSEEN = {
    "context-dependent": parse(CONTEXT_TEST),
    "subjective": parse(SUBJECTIVE_TEST),
    "vague": parse(VAGUE_TEST),
    "other-modality": parse(MODALITY_TEST),
}
"""Templates by kind of the evaluation splits."""
