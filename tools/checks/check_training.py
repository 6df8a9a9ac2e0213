"""Trains an exported model as others do, and compares the losses with ones made by hand. A part of check_generation.py."""

import importlib.util
import tempfile

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

LIMIT = 1e-5


def close(what, found, expected):
    if not abs(found - expected) < LIMIT * max(1.0, abs(expected)):
        raise AssertionError(f"{what} is {found:.6f}, by hand {expected:.6f}")


def losses_by_hand(model, rows):
    with torch.no_grad():
        return torch.cat([torch.nn.functional.cross_entropy(model(row).logits[0, :-1], row[0, 1:], reduction="none")
                          for row in rows])


def trained_alike(model, rows):
    """Losses with and without a count of targets, with checkpointing, and Trainer. rows: token ids, [1, length] each."""
    width = max(row.shape[1] for row in rows)
    by_hand = losses_by_hand(model, rows)
    inputs = {
        "input_ids": torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows]),
        "attention_mask": torch.cat([torch.arange(width)[None] < row.shape[1] for row in rows]).long(),
        "labels": torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1]), value=-100) for row in rows]),
    }
    close("the loss", model(**inputs).loss.item(), by_hand.mean().item())
    model.train()
    gradients = []
    for reentrant in (None, False, True):
        if reentrant is not None:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model.zero_grad()
        loss = model(**inputs, num_items_in_batch=torch.tensor(1000)).loss
        close("the loss over num_items_in_batch", loss.item(), by_hand.sum().item() / 1000)
        loss.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    model.gradient_checkpointing_disable()
    for found in gradients[1:]:
        if not (found - gradients[0]).abs().max() <= LIMIT * gradients[0].abs().max():
            raise AssertionError("gradients with checkpointing differ")
    if importlib.util.find_spec("accelerate") is None:
        return f"loss {by_hand.mean():.4f}; accelerate is missing, so Trainer was not tried"
    with_trainer(model, [dict(zip(inputs, values)) for values in zip(*inputs.values())])
    return f"loss {by_hand.mean():.4f}"


def with_trainer(model, examples):
    model.zero_grad()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=3, per_device_train_batch_size=1, per_device_eval_batch_size=2,
            gradient_accumulation_steps=2, learning_rate=1e-4, report_to=[], save_strategy="no", use_cpu=True,
            disable_tqdm=True)
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, eval_dataset=examples)
        trainer.remove_callback(PrinterCallback)
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        after = trainer.predict(examples)
        model.save_pretrained(folder + "/model")
    # Outputs beside the logits, such as a cache, would make this a tuple.
    if getattr(after.predictions, "shape", None) != (len(examples), len(examples[0]["input_ids"]), model.config.vocab_size):
        raise AssertionError("Trainer's predictions are not the logits alone")
    if not after.metrics["test_loss"] < before:
        raise AssertionError(f"Trainer takes the loss from {before:.4f} to {after.metrics['test_loss']:.4f}")
