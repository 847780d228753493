"""SFT: from a blend to a checkpoint, by packs with exact loss masks, two losses and multi-token prediction."""
