/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "output-sink.h"

#include "file-sink.h"
#include "fsio.h"
#include "image.h"
#include "nbd-sink.h"
#include "qcow2-sink.h"

#include <string.h>

typedef struct {
  BkSink base;
  BkSink *inner;
  char *temporary; /* of a file; NULL else */
  char *output;
  bool force, complete;
} OutputSink;

static gboolean
output_open (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error)
{
  return bk_sink_open (((OutputSink *)sink)->inner, workers, cancellable, error);
}

static gboolean
output_write (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error)
{
  return bk_sink_write (((OutputSink *)sink)->inner, worker, offset, data, length, error);
}

static gboolean
output_zero (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  return bk_sink_zero (((OutputSink *)sink)->inner, worker, offset, length, error);
}

static gboolean
output_finish (BkSink *sink, GCancellable *cancellable, GError **error)
{
  OutputSink *self = (OutputSink *)sink;
  if (!bk_sink_finish (self->inner, cancellable, error))
    return FALSE;
  self->complete = self->temporary == NULL ||
                   (bk_fsio_sync (self->temporary, error) && bk_fsio_rename (self->temporary, self->output, self->force, error));
  return self->complete;
}

static void
output_interrupt (BkSink *sink)
{
  bk_sink_interrupt (((OutputSink *)sink)->inner);
}

static void
output_free (BkSink *sink)
{
  OutputSink *self = (OutputSink *)sink;
  g_autoptr (GError) error = NULL;
  bk_sink_free (self->inner);
  if (self->temporary && !self->complete && !bk_fsio_remove (self->temporary, &error))
    g_warning ("%s", error->message);
  g_free (self->temporary);
  g_free (self->output);
  g_free (self);
}

static const BkSinkOps ops = {
  .name = "output",
  .open = output_open,
  .write = output_write,
  .zero = output_zero,
  .finish = output_finish,
  .interrupt = output_interrupt,
  .free = output_free,
};

static BkSink *
make_file (const char *path, const char *format, uint64_t size, GError **error)
{
  if (!bk_fsio_remove (path, error))
    return NULL;
  if (strcmp (format, "raw") == 0)
    return bk_file_sink_new (path, size, error);
  return bk_image_create (path, format, size, NULL, false, error) ? bk_qcow2_sink_new (path, size) : NULL;
}

static BkSink *
open_nbd (const char *uri, uint64_t size, GError **error)
{
  const BkNbdAddress address = { .uri = uri };
  g_autoptr (BkSink) sink = bk_nbd_sink_new (&address, NULL, NULL, error);
  if (sink == NULL || sink->size == size)
    return g_steal_pointer (&sink);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' has %" G_GUINT64_FORMAT " bytes, and the disk %" G_GUINT64_FORMAT, uri, sink->size, size);
  return NULL;
}

static BkSink *
open_inner (const char *output, const char *temporary, const char *format, uint64_t size, GError **error)
{
  switch (bk_output_kind (output)) {
  case BK_OUTPUT_FILE:
    return make_file (temporary, format, size, error);
  case BK_OUTPUT_DEVICE:
    return bk_file_sink_open (output, error);
  case BK_OUTPUT_NBD:
    return open_nbd (output, size, error);
  }
  g_assert_not_reached ();
}

BkSink *
bk_output_sink_new (const char *output, const char *temporary, const char *format, uint64_t size, bool force, GError **error)
{
  BkSink *inner = bk_output_check (output, format, size, force, error) ? open_inner (output, temporary, format, size, error) : NULL;
  if (inner == NULL)
    return NULL;
  OutputSink *self = g_new0 (OutputSink, 1);
  self->base.ops = &ops;
  self->base.size = inner->size;
  self->base.block = inner->block;
  self->base.wants_zeroes = inner->wants_zeroes;
  self->inner = inner;
  self->force = force;
  if (bk_output_kind (output) == BK_OUTPUT_FILE) {
    self->temporary = g_strdup (temporary);
    self->output = g_strdup (output);
  }
  return &self->base;
}
