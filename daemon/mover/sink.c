/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sink.h"

gboolean
bk_sink_open (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error)
{
  g_assert (workers > 0 && sink->workers == 0 && sink->block > 0 && (sink->block & (sink->block - 1)) == 0);
  sink->workers = workers;
  return sink->ops->open == NULL || sink->ops->open (sink, workers, cancellable, error);
}

static bool
is_whole_blocks (const BkSink *sink, uint64_t offset, uint64_t length)
{
  return offset % sink->block == 0 && offset <= sink->size && length <= sink->size - offset &&
         (length % sink->block == 0 || offset + length == sink->size);
}

static bool
may_write (const BkSink *sink, unsigned worker)
{
  return worker < sink->workers && !sink->finished;
}

gboolean
bk_sink_write (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error)
{
  g_assert (is_whole_blocks (sink, offset, length) && may_write (sink, worker));
  return sink->ops->write (sink, worker, offset, data, length, error);
}

gboolean
bk_sink_zero (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  g_assert (is_whole_blocks (sink, offset, length) && may_write (sink, worker));
  return sink->ops->zero (sink, worker, offset, length, error);
}

gboolean
bk_sink_finish (BkSink *sink, GCancellable *cancellable, GError **error)
{
  g_assert (sink->workers > 0 && !sink->finished);
  sink->finished = true;
  return sink->ops->finish (sink, cancellable, error);
}

void
bk_sink_interrupt (BkSink *sink)
{
  if (sink->ops->interrupt)
    sink->ops->interrupt (sink);
}

void
bk_sink_free (BkSink *sink)
{
  sink->ops->free (sink);
}
