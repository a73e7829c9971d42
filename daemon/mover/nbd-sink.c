/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-sink.h"

#include "nbd-connection.h"

#include <string.h>

#define BLOCK 4096u
#define ZERO_PIECE (UINT64_C (1) << 30) /* of one write-zeroes: the protocol has 32 bits */
#define ZEROES (256 * 1024)             /* written at a time where there is no write-zeroes */

typedef struct {
  BkSink sink;
  BkNbdAddress address;
  BkNbdInterrupt *interrupt;
  BkNbdConnection *main;
  BkNbdConnection **own; /* of each worker; NULL = all share main */
} NbdSink;

static BkNbdConnection *
connection_of (const NbdSink *self, unsigned worker)
{
  return self->own ? self->own[worker] : self->main;
}

static unsigned
lane_of (const NbdSink *self, unsigned worker)
{
  return self->own ? 0 : worker;
}

static gboolean
open_sink (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error)
{
  NbdSink *self = (NbdSink *)sink;
  if (!bk_nbd_connection_can_multi (self->main)) {
    bk_nbd_connection_set_lanes (self->main, workers);
    return TRUE;
  }
  self->own = g_new0 (BkNbdConnection *, workers);
  for (unsigned i = 0; i < workers; i++) {
    self->own[i] = bk_nbd_connection_new (&self->address, NULL, self->interrupt, cancellable, error);
    if (self->own[i] == NULL)
      return FALSE;
  }
  return TRUE;
}

static gboolean
write_range (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error)
{
  const NbdSink *self = (const NbdSink *)sink;
  BkNbdConnection *connection = connection_of (self, worker);
  size_t most = bk_nbd_connection_max_request (connection);
  for (size_t done = 0, part = 0; done < length; done += part) {
    part = MIN (length - done, most);
    const BkNbdCommand command = { .operation = BK_NBD_WRITE, .offset = offset + done, .length = part, .data = (char *)data + done };
    if (!bk_nbd_connection_do (connection, lane_of (self, worker), &command, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
write_zeroes (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  static const uint8_t zeroes[ZEROES];
  for (uint64_t end = offset + length, part = 0; offset < end; offset += part) {
    part = MIN (end - offset, sizeof zeroes);
    if (!write_range (sink, worker, offset, zeroes, (size_t)part, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
zero_range (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  const NbdSink *self = (const NbdSink *)sink;
  BkNbdConnection *connection = connection_of (self, worker);
  if (!bk_nbd_connection_can_zero (connection))
    return write_zeroes (sink, worker, offset, length, error);
  for (uint64_t end = offset + length, part = 0; offset < end; offset += part) {
    part = MIN (end - offset, ZERO_PIECE);
    const BkNbdCommand command = { .operation = BK_NBD_ZERO, .offset = offset, .length = part };
    if (!bk_nbd_connection_do (connection, lane_of (self, worker), &command, error))
      return FALSE;
  }
  return TRUE;
}

/* Multi-conn promises that a flush on one connection is one for all. */
static gboolean
finish (BkSink *sink, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  const NbdSink *self = (const NbdSink *)sink;
  const BkNbdCommand command = { .operation = BK_NBD_FLUSH };
  return !bk_nbd_connection_can_flush (self->main) || bk_nbd_connection_do (self->main, 0, &command, error);
}

static void
interrupt_sink (BkSink *sink)
{
  bk_nbd_interrupt_raise (((NbdSink *)sink)->interrupt);
}

static void
free_sink (BkSink *sink)
{
  NbdSink *self = (NbdSink *)sink;
  for (unsigned i = 0; self->own && i < sink->workers; i++)
    bk_nbd_connection_free (self->own[i]);
  g_free (self->own);
  bk_nbd_connection_free (self->main);
  bk_nbd_interrupt_free (self->interrupt);
  bk_nbd_address_clear (&self->address);
  g_free (self);
}

static const BkSinkOps nbd_sink_ops = {
  .name = "nbd",
  .open = open_sink,
  .write = write_range,
  .zero = zero_range,
  .finish = finish,
  .interrupt = interrupt_sink,
  .free = free_sink,
};

static gboolean
check_writable (const NbdSink *self, GError **error)
{
  if (!bk_nbd_connection_is_read_only (self->main))
    return TRUE;
  g_autofree char *name = bk_nbd_address_describe (&self->address);
  g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "%s is read-only", name);
  return FALSE;
}

BkSink *
bk_nbd_sink_new (const BkNbdAddress *address, const BkNbdSinkOptions *options, GCancellable *cancellable, GError **error)
{
  NbdSink *self = g_new0 (NbdSink, 1);
  g_autoptr (BkSink) sink = &self->sink;
  sink->ops = &nbd_sink_ops;
  sink->wants_zeroes = options == NULL || !options->is_zero;
  self->interrupt = bk_nbd_interrupt_new ();
  bk_nbd_address_copy (&self->address, address);
  self->main = bk_nbd_connection_new (&self->address, NULL, self->interrupt, cancellable, error);
  if (self->main == NULL || !check_writable (self, error))
    return NULL;
  sink->size = bk_nbd_connection_size (self->main);
  sink->block = MAX (BLOCK, bk_nbd_connection_block (self->main));
  return g_steal_pointer (&sink);
}
