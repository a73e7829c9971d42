/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory.h"

#include <check.h>
#include <string.h>

#define HANG_S 30 /* so that a test that waits for ever fails by itself */

/* Waits for the interruption, under the mutex. */
static void
hang (GMutex *mutex, GCond *cond, const bool *interrupted)
{
  gint64 end = g_get_monotonic_time () + HANG_S * G_TIME_SPAN_SECOND;
  while (!*interrupted)
    ck_assert_msg (g_cond_wait_until (cond, mutex, end), "nobody interrupts");
}

static void
interrupt (GMutex *mutex, GCond *cond, bool *interrupted)
{
  g_mutex_lock (mutex);
  *interrupted = true;
  g_cond_broadcast (cond);
  g_mutex_unlock (mutex);
}

static gboolean
set_cancelled (GError **error)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "interrupted");
  return FALSE;
}

/* --- reader --- */

static gboolean
extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  MemoryReader *self = (MemoryReader *)reader;
  for (uint64_t offset = 0; offset < reader->size; offset += UNIT) {
    if (self->walk_fails && ++self->walked == self->walk_fails) {
      g_set_error_literal (error, BK_ERROR, BK_ERROR_UNREACHABLE, "walk failed");
      return FALSE;
    }
    if (!func (offset, MIN (UNIT, reader->size - offset), self->kinds[offset / UNIT], user_data, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
read_range (BkReader *reader, unsigned worker G_GNUC_UNUSED, uint64_t offset, void *data, size_t length, GError **error)
{
  MemoryReader *self = (MemoryReader *)reader;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  if (reader->max_request > 0)
    ck_assert_uint_eq (offset / reader->max_request, (offset + length - 1) / reader->max_request);
  self->largest = MAX (self->largest, length);
  if (++self->reads == self->fail_at) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, "read failed");
    return FALSE;
  }
  if (self->reads == self->hang_at)
    hang (&self->mutex, &self->cond, &self->interrupted);
  if (self->interrupted)
    return set_cancelled (error);
  memcpy (data, self->content + offset, length);
  memset (self->was_read + offset, 1, length);
  g_clear_pointer (&locker, g_mutex_locker_free);
  if (self->delay_us)
    g_usleep (self->delay_us);
  return TRUE;
}

static gboolean
start (BkReader *reader, unsigned worker, BkRequest *request, GError **error G_GNUC_UNUSED)
{
  MemoryReader *self = (MemoryReader *)reader;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  /* Either end: they come back in any order. */
  if (g_random_boolean ())
    g_queue_push_head (&self->flying[worker], request);
  else
    g_queue_push_tail (&self->flying[worker], request);
  self->in_flight++;
  self->most_flying = MAX (self->most_flying, self->in_flight);
  return TRUE;
}

static BkRequest *
wait_for (BkReader *reader, unsigned worker, GError **error)
{
  MemoryReader *self = (MemoryReader *)reader;
  g_mutex_lock (&self->mutex);
  BkRequest *request = self->lost ? NULL : g_queue_pop_head (&self->flying[worker]);
  self->in_flight--;
  g_mutex_unlock (&self->mutex);
  if (request == NULL) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_UNREACHABLE, "lost");
    return NULL;
  }
  if (!read_range (reader, worker, request->offset, request->data, request->length, &request->error))
    ck_assert_ptr_nonnull (request->error);
  return request;
}

static void
interrupt_reader (BkReader *reader)
{
  MemoryReader *self = (MemoryReader *)reader;
  interrupt (&self->mutex, &self->cond, &self->interrupted);
}

static void
free_reader (BkReader *reader)
{
  MemoryReader *self = (MemoryReader *)reader;
  for (size_t i = 0; i < G_N_ELEMENTS (self->flying); i++)
    g_queue_clear (&self->flying[i]);
  g_free (self->content);
  g_free (self->kinds);
  g_free (self->was_read);
  g_mutex_clear (&self->mutex);
  g_cond_clear (&self->cond);
  g_free (self);
}

static const BkReaderOps sync_ops = {
  .name = "memory", .extents = extents, .read = read_range, .interrupt = interrupt_reader, .free = free_reader,
};
static const BkReaderOps async_ops = {
  .name = "memory", .extents = extents, .read = read_range, .start = start, .wait = wait_for, .interrupt = interrupt_reader,
  .free = free_reader,
};

MemoryReader *
memory_reader_new (uint64_t size, bool async)
{
  MemoryReader *self = g_new0 (MemoryReader, 1);
  self->reader.ops = async ? &async_ops : &sync_ops;
  self->reader.size = size;
  self->content = g_malloc (size + 1);
  self->was_read = g_malloc0 (size + 1);
  self->kinds = g_malloc0 (size / UNIT + 1);
  for (uint64_t i = 0; i < size; i++)
    self->content[i] = (uint8_t)(i % 251 + 1);
  return self;
}

void
memory_reader_set_kind (MemoryReader *self, uint64_t first, uint64_t n, BkExtentKind kind)
{
  uint64_t start = first * UNIT, end = MIN ((first + n) * UNIT, self->reader.size);
  if (start >= end)
    return;
  memset (self->kinds + first, (int)kind, (end - start + UNIT - 1) / UNIT);
  if (kind == BK_EXTENT_ZERO)
    memset (self->content + start, 0, end - start);
}

/* --- sink --- */

static gboolean
touch (MemorySink *self, unsigned *count, uint64_t offset, uint64_t length, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  ++*count;
  if (self->writes + self->zeroes == self->fail_at) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_NO_SPACE, "write failed");
    return FALSE;
  }
  if (self->writes + self->zeroes == self->hang_at)
    hang (&self->mutex, &self->cond, &self->interrupted);
  if (self->interrupted)
    return set_cancelled (error);
  for (uint64_t i = offset; i < offset + length; i++)
    self->touched[i]++;
  self->at_once++;
  self->most_at_once = MAX (self->most_at_once, self->at_once);
  g_clear_pointer (&locker, g_mutex_locker_free);
  if (self->delay_us)
    g_usleep (self->delay_us);
  g_mutex_lock (&self->mutex);
  self->at_once--;
  g_mutex_unlock (&self->mutex);
  return TRUE;
}

static gboolean
write_range (BkSink *sink, unsigned worker G_GNUC_UNUSED, uint64_t offset, const void *data, size_t length, GError **error)
{
  MemorySink *self = (MemorySink *)sink;
  if (!touch (self, &self->writes, offset, length, error))
    return FALSE;
  memcpy (self->content + offset, data, length);
  return TRUE;
}

static gboolean
zero_range (BkSink *sink, unsigned worker G_GNUC_UNUSED, uint64_t offset, uint64_t length, GError **error)
{
  MemorySink *self = (MemorySink *)sink;
  ck_assert (sink->wants_zeroes);
  if (!touch (self, &self->zeroes, offset, length, error))
    return FALSE;
  memset (self->content + offset, 0, length);
  return TRUE;
}

static gboolean
finish (BkSink *sink, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  ((MemorySink *)sink)->finished++;
  return TRUE;
}

static void
interrupt_sink (BkSink *sink)
{
  MemorySink *self = (MemorySink *)sink;
  interrupt (&self->mutex, &self->cond, &self->interrupted);
}

static void
free_sink (BkSink *sink)
{
  MemorySink *self = (MemorySink *)sink;
  g_free (self->content);
  g_free (self->touched);
  g_mutex_clear (&self->mutex);
  g_cond_clear (&self->cond);
  g_free (self);
}

static const BkSinkOps sink_ops = {
  .name = "memory", .write = write_range, .zero = zero_range, .finish = finish, .interrupt = interrupt_sink, .free = free_sink,
};

MemorySink *
memory_sink_new (uint64_t size, uint32_t block)
{
  MemorySink *self = g_new0 (MemorySink, 1);
  self->sink.ops = &sink_ops;
  self->sink.size = size;
  self->sink.block = block;
  self->sink.wants_zeroes = true;
  self->content = g_malloc0 (size + 1);
  self->touched = g_malloc0 (size + 1);
  return self;
}
