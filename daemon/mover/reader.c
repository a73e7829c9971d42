/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reader.h"

#include "cancel.h"

gboolean
bk_reader_open (BkReader *reader, unsigned workers, GCancellable *cancellable, GError **error)
{
  g_assert (workers > 0 && reader->workers == 0);
  reader->workers = workers;
  return reader->ops->open == NULL || reader->ops->open (reader, workers, cancellable, error);
}

/* --- extents: the contract of BkExtentFunc, held for all readers --- */

typedef struct {
  BkExtentFunc func;
  gpointer user_data;
  GCancellable *cancellable;
  uint64_t next; /* offset of the extent that has to come */
  uint64_t size;
  uint64_t start; /* of the extent that is being put together */
  BkExtentKind kind;
} Walk;

static gboolean
flush (Walk *walk, GError **error)
{
  return walk->next == walk->start || walk->func (walk->start, walk->next - walk->start, walk->kind, walk->user_data, error);
}

static gboolean
take_extent (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error)
{
  Walk *walk = user_data;
  g_assert (offset == walk->next && length <= walk->size - offset);
  if (!bk_cancel_check (walk->cancellable, error))
    return FALSE;
  if (kind != walk->kind) {
    if (!flush (walk, error))
      return FALSE;
    walk->start = offset;
    walk->kind = kind;
  }
  walk->next = offset + length;
  return TRUE;
}

gboolean
bk_reader_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable, GError **error)
{
  Walk walk = { .func = func, .user_data = user_data, .cancellable = cancellable, .size = reader->size };
  g_assert (reader->workers > 0);
  if (!reader->ops->extents (reader, take_extent, &walk, cancellable, error))
    return FALSE;
  g_assert (walk.next == walk.size);
  return flush (&walk, error);
}

/* --- reading --- */

static bool
is_inside (const BkReader *reader, uint64_t offset, size_t length)
{
  return reader->workers > 0 && offset <= reader->size && length <= reader->size - offset;
}

gboolean
bk_reader_read (BkReader *reader, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  g_assert (is_inside (reader, offset, length) && worker < reader->workers);
  return reader->ops->read (reader, worker, offset, data, length, error);
}

gboolean
bk_reader_start (BkReader *reader, unsigned worker, BkRequest *request, GError **error)
{
  g_assert (is_inside (reader, request->offset, request->length) && worker < reader->workers && request->error == NULL);
  g_assert (reader->ops->start);
  return reader->ops->start (reader, worker, request, error);
}

BkRequest *
bk_reader_wait (BkReader *reader, unsigned worker, GError **error)
{
  g_assert (worker < reader->workers && reader->ops->wait);
  return reader->ops->wait (reader, worker, error);
}

void
bk_reader_interrupt (BkReader *reader)
{
  if (reader->ops->interrupt)
    reader->ops->interrupt (reader);
}

void
bk_reader_free (BkReader *reader)
{
  reader->ops->free (reader);
}
