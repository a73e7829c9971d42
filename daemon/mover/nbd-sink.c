/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-sink.h"

#include "nbd-workers.h"

#include <errno.h>

/* Smaller writes than these gain nothing anywhere. */
#define BLOCK 4096
/* Of one write-zeroes; the protocol has lengths of 32 bits. */
#define MOST_ZEROES (UINT64_C (1) << 30)
/* Written at a time where the server has no write-zeroes. */
#define ZEROES (1024 * 1024)

typedef struct {
  BkSink sink;
  BkNbdWorkers workers;
  size_t max_request;
  bool no_zeroes; /* atomic: the server has no write-zeroes */
} NbdSink;

static gboolean
open_sink (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error)
{
  return bk_nbd_workers_open (&((NbdSink *)sink)->workers, workers, 0, cancellable, error);
}

/* Fetches @n answers; the first that is an error is told, when all are there: the buffer is the caller's again then. */
static gboolean
wait_for_all (BkNbdConnection *connection, unsigned lane, unsigned n, const BkNbdCommand *whole, GError **error)
{
  int first = 0;
  for (; n > 0; n--) {
    gpointer tag = NULL;
    int errsv = 0;
    if (!bk_nbd_connection_wait (connection, lane, &tag, &errsv, error))
      return FALSE;
    first = first ? first : errsv;
  }
  return first == 0 || bk_nbd_connection_set_error (connection, whole, first, error);
}

static gboolean
write_range (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error)
{
  NbdSink *self = (NbdSink *)sink;
  unsigned lane = 0, n = 0;
  BkNbdConnection *connection = bk_nbd_workers_connection (&self->workers, worker, &lane);
  BkNbdCommand whole = { .operation = BK_NBD_WRITE, .offset = offset, .length = length };
  for (size_t done = 0, part = 0; done < length; done += part, n++) {
    part = MIN (length - done, self->max_request);
    BkNbdCommand command = { .operation = BK_NBD_WRITE, .offset = offset + done, .length = part, .data = (uint8_t *)data + done };
    if (bk_nbd_connection_start (connection, lane, &command, error))
      continue;
    /* What is under way still reads from the buffer. */
    bool back = wait_for_all (connection, lane, n, &whole, NULL);
    (void)back;
    return FALSE;
  }
  return wait_for_all (connection, lane, n, &whole, error);
}

static gboolean
write_zeroes (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  static const uint8_t zeroes[ZEROES];
  for (uint64_t end = offset + length, n = 0; offset < end; offset += n) {
    n = MIN (end - offset, sizeof zeroes);
    if (!write_range (sink, worker, offset, zeroes, (size_t)n, error))
      return FALSE;
  }
  return TRUE;
}

/* One write-zeroes; *@unable: the server says that it cannot, after all. */
static gboolean
send_zeroes (NbdSink *self, unsigned worker, uint64_t offset, uint64_t length, bool *unable, GError **error)
{
  unsigned lane = 0;
  BkNbdConnection *connection = bk_nbd_workers_connection (&self->workers, worker, &lane);
  BkNbdCommand command = { .operation = BK_NBD_ZERO, .offset = offset, .length = length };
  gpointer tag = NULL;
  int errsv = 0;
  if (!bk_nbd_connection_start (connection, lane, &command, error) || !bk_nbd_connection_wait (connection, lane, &tag, &errsv, error))
    return FALSE;
  *unable = errsv == EOPNOTSUPP;
  return errsv == 0 || *unable || bk_nbd_connection_set_error (connection, &command, errsv, error);
}

static gboolean
zero_range (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  NbdSink *self = (NbdSink *)sink;
  for (uint64_t end = offset + length, n = 0; offset < end; offset += n) {
    bool unable = __atomic_load_n (&self->no_zeroes, __ATOMIC_RELAXED);
    n = MIN (end - offset, MOST_ZEROES);
    if (!unable && !send_zeroes (self, worker, offset, n, &unable, error))
      return FALSE;
    if (!unable)
      continue;
    __atomic_store_n (&self->no_zeroes, true, __ATOMIC_RELAXED);
    if (!write_zeroes (sink, worker, offset, n, error))
      return FALSE;
  }
  return TRUE;
}

/* A server that allows several connections flushes for all of them. */
static gboolean
finish (BkSink *sink, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  NbdSink *self = (NbdSink *)sink;
  BkNbdCommand command = { .operation = BK_NBD_FLUSH };
  return !bk_nbd_connection_can_flush (self->workers.main) || bk_nbd_connection_do (self->workers.main, 0, &command, error);
}

static void
interrupt_sink (BkSink *sink)
{
  bk_nbd_interrupt_raise (((NbdSink *)sink)->workers.interrupt);
}

static void
free_sink (BkSink *sink)
{
  NbdSink *self = (NbdSink *)sink;
  bk_nbd_workers_clear (&self->workers);
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

BkSink *
bk_nbd_sink_new (const BkNbdAddress *address, const BkNbdSinkOptions *options, GCancellable *cancellable, GError **error)
{
  NbdSink *self = g_new0 (NbdSink, 1);
  g_autoptr (BkSink) sink = &self->sink;
  sink->ops = &nbd_sink_ops;
  bk_nbd_workers_init (&self->workers, address);
  self->workers.main = bk_nbd_connection_new (&self->workers.address, NULL, self->workers.interrupt, cancellable, error);
  if (self->workers.main == NULL)
    return NULL;
  if (bk_nbd_connection_is_read_only (self->workers.main)) {
    g_autofree char *name = bk_nbd_address_describe (address);
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "%s: the server allows no writing", name);
    return NULL;
  }
  sink->size = bk_nbd_connection_size (self->workers.main);
  sink->block = MAX (BLOCK, bk_nbd_connection_block (self->workers.main));
  sink->wants_zeroes = options == NULL || !options->is_zero;
  self->max_request = bk_nbd_connection_max_request (self->workers.main);
  self->no_zeroes = !bk_nbd_connection_can_zero (self->workers.main);
  return g_steal_pointer (&sink);
}
