"""Small tokenizers of the kinds that models come with, made on the spot."""

from __future__ import annotations

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from minivault.engine.tokenizer import Tokenizer
from minivault.engine.tokenizer_files import TokenizerFiles


class SmallTokenizer(Tokenizer):
    """A tokenizer without a model, and the ids of its vocabulary."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(TokenizerFiles(backend))
        self.ids: dict[str, int] = backend.get_vocab()


def byte_level() -> Backend:
    """Every byte is a token, and a few are merged; id 0 is special, the last is added text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("c", "a"), ("ca", "t"), ("Ġ", "cat"), ("Ã", "©"), ("æ", "Ĺ")]
    spelled = ["<|endoftext|>", *letters, *(a + b for a, b in pairs)]
    vocabulary = {token: place for place, token in enumerate(spelled)}
    tokenizer = Backend(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    tokenizer.add_tokens([AddedToken("   ", normalized=False)])
    return tokenizer


def wrapped_bytes() -> Backend:
    """Bytes too, but behind a decoder that does not say so."""
    tokenizer = byte_level()
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel()])
    return tokenizer


def sentence_piece() -> Backend:
    """Like Llama's: ▁ for a space, one in front of every text, bytes for unknown characters."""
    special = ["<unk>", "<s>", "</s>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.,!", "日", "本", "語"]
    pairs = [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a"), ("ca", "t"), ("▁", "cat")]
    spelled = [*special, *fallback, *letters, *(a + b for a, b in pairs)]
    vocabulary = {token: place for place, token in enumerate(spelled)}
    tokenizer = Backend(
        models.BPE(
            vocab=vocabulary, merges=pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(each, normalized=False) for each in special])
    return tokenizer


def metaspace() -> Backend:
    """A Unigram vocabulary with the Metaspace decoder, without bytes to fall back to."""
    pieces = ["<unk>", "</s>", "▁", "▁the", "▁cat", "s", "語", ".", "\ufffd"]
    tokenizer = Backend(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken("</s>", normalized=False)])
    return tokenizer


def word_pieces() -> Backend:
    """WordPiece, whose decoder joins ## and puts a space before everything else."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "play", "##ing", "##s", "cat", "語"]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Backend(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens([AddedToken(each) for each in ("[CLS]", "[SEP]")])
    return tokenizer
