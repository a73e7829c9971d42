/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-reader.h"

#include "extent-walk.h"
#include "nbd-workers.h"

#include <inttypes.h>

#define ALLOCATION "base:allocation"

typedef struct {
  BkReader reader;
  BkNbdWorkers workers;        /* their main connection is for extents, too */
  BkNbdConnection *allocation; /* for base:allocation; may be main; NULL = all is data */
  BkNbdConnection *dirty;      /* for the dirty context; may be main; NULL = all is dirty */
  char *dirty_context;
} NbdReader;

/* --- opening --- */

static gboolean
open_reader (BkReader *reader, unsigned workers, GCancellable *cancellable, GError **error)
{
  return bk_nbd_workers_open (&((NbdReader *)reader)->workers, workers, 1, cancellable, error);
}

/* --- extents --- */

/* Extents have the lane behind those of the workers on the main connection, and are alone on others. */
static BkNbdStatus *
make_status (const NbdReader *self, BkNbdConnection *connection, const char *context)
{
  return bk_nbd_status_new (connection, connection == self->workers.main && !self->workers.own ? self->reader.workers : 0, context);
}

static gboolean
walk_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  NbdReader *self = (NbdReader *)reader;
  g_autoptr (BkNbdStatus) dirty = self->dirty ? make_status (self, self->dirty, self->dirty_context) : NULL;
  g_autoptr (BkNbdStatus) allocation = self->allocation ? make_status (self, self->allocation, ALLOCATION) : NULL;
  BkExtentWalk walk = {
    .size = reader->size,
    .dirty = dirty,
    .allocation = allocation ? bk_extent_walk_allocation : NULL,
    .user_data = allocation,
  };
  return bk_extent_walk_run (&walk, func, user_data, error);
}

/* --- reading --- */

static BkNbdCommand
command_of (const BkRequest *request)
{
  return (BkNbdCommand){
    .operation = BK_NBD_READ,
    .offset = request->offset,
    .length = request->length,
    .data = request->data,
    .user_data = (gpointer)request,
  };
}

static gboolean
read_range (BkReader *reader, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  const NbdReader *self = (const NbdReader *)reader;
  BkNbdCommand command = { .operation = BK_NBD_READ, .offset = offset, .length = length, .data = data };
  unsigned lane = 0;
  BkNbdConnection *connection = bk_nbd_workers_connection (&self->workers, worker, &lane);
  return length == 0 || bk_nbd_connection_do (connection, lane, &command, error);
}

static gboolean
start_request (BkReader *reader, unsigned worker, BkRequest *request, GError **error)
{
  const NbdReader *self = (const NbdReader *)reader;
  BkNbdCommand command = command_of (request);
  unsigned lane = 0;
  BkNbdConnection *connection = bk_nbd_workers_connection (&self->workers, worker, &lane);
  return bk_nbd_connection_start (connection, lane, &command, error);
}

static BkRequest *
wait_for_request (BkReader *reader, unsigned worker, GError **error)
{
  const NbdReader *self = (const NbdReader *)reader;
  unsigned lane = 0;
  BkNbdConnection *connection = bk_nbd_workers_connection (&self->workers, worker, &lane);
  gpointer tag = NULL;
  int errsv = 0;
  if (!bk_nbd_connection_wait (connection, lane, &tag, &errsv, error))
    return NULL;
  BkRequest *request = tag;
  BkNbdCommand command = command_of (request);
  if (errsv != 0)
    bk_nbd_connection_set_error (connection, &command, errsv, &request->error);
  return request;
}

/* --- the end --- */

static void
interrupt_reader (BkReader *reader)
{
  bk_nbd_interrupt_raise (((NbdReader *)reader)->workers.interrupt);
}

static void
free_reader (BkReader *reader)
{
  NbdReader *self = (NbdReader *)reader;
  if (self->allocation != self->workers.main)
    bk_nbd_connection_free (self->allocation);
  if (self->dirty != self->workers.main)
    bk_nbd_connection_free (self->dirty);
  bk_nbd_workers_clear (&self->workers);
  g_free (self->dirty_context);
  g_free (self);
}

/* --- the first connections --- */

static const BkReaderOps nbd_reader_ops = {
  .name = "nbd",
  .open = open_reader,
  .extents = walk_extents,
  .read = read_range,
  .start = start_request,
  .wait = wait_for_request,
  .interrupt = interrupt_reader,
  .free = free_reader,
};

static gboolean
connect_main (NbdReader *self, const char *first, const char *second, GCancellable *cancellable, GError **error)
{
  const char *contexts[] = { first ? first : second, first ? second : NULL, NULL };
  bk_nbd_connection_free (self->workers.main);
  self->workers.main = bk_nbd_connection_new (&self->workers.address, contexts, self->workers.interrupt, cancellable, error);
  return self->workers.main != NULL;
}

/* Content and changes on one export: each list has a connection of its own where that is possible, so that the server does
 * not work out both to tell one. */
static gboolean
connect_both (NbdReader *self, bool allocation, GCancellable *cancellable, GError **error)
{
  static const char *const contexts[] = { ALLOCATION, NULL };
  if (!connect_main (self, self->dirty_context, NULL, cancellable, error))
    return FALSE;
  self->dirty = self->workers.main;
  if (!allocation)
    return TRUE;
  if (bk_nbd_connection_can_multi (self->workers.main)) {
    self->allocation = bk_nbd_connection_new (&self->workers.address, contexts, self->workers.interrupt, cancellable, error);
    return self->allocation != NULL;
  }
  self->dirty = NULL;
  if (!connect_main (self, self->dirty_context, ALLOCATION, cancellable, error))
    return FALSE;
  self->dirty = self->allocation = self->workers.main;
  return TRUE;
}

static gboolean
connect_dirty (NbdReader *self, const BkNbdAddress *address, GCancellable *cancellable, GError **error)
{
  const char *contexts[] = { self->dirty_context, NULL };
  self->dirty = bk_nbd_connection_new (address, contexts, self->workers.interrupt, cancellable, error);
  if (self->dirty == NULL)
    return FALSE;
  uint64_t size = bk_nbd_connection_size (self->workers.main), other = bk_nbd_connection_size (self->dirty);
  if (size == other)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the list of changes is for %" PRIu64 " bytes, the disk has %" PRIu64, other, size);
  return FALSE;
}

static gboolean
connect_all (NbdReader *self, const BkNbdReaderOptions *options, GCancellable *cancellable, GError **error)
{
  bool allocation = !options->no_allocation;
  if (self->dirty_context && !options->dirty_address)
    return connect_both (self, allocation, cancellable, error);
  if (!connect_main (self, allocation ? ALLOCATION : NULL, NULL, cancellable, error))
    return FALSE;
  self->allocation = allocation ? self->workers.main : NULL;
  return !self->dirty_context || connect_dirty (self, options->dirty_address, cancellable, error);
}

static gboolean
check_contexts (NbdReader *self, GError **error)
{
  if (self->dirty && !bk_nbd_connection_has_context (self->dirty, self->dirty_context)) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the NBD export has no list of changes '%s'", self->dirty_context);
    return FALSE;
  }
  if (self->allocation && !bk_nbd_connection_has_context (self->allocation, ALLOCATION)) {
    if (self->allocation != self->workers.main)
      bk_nbd_connection_free (self->allocation);
    self->allocation = NULL;
  }
  return TRUE;
}

/* A power of two, as reader.h wants it; @wanted is one, or 0. */
static size_t
largest_request (const NbdReader *self, size_t wanted)
{
  size_t taken = bk_nbd_connection_max_request (self->workers.main);
  return wanted == 0 ? taken : MIN (wanted, taken);
}

BkReader *
bk_nbd_reader_new (const BkNbdAddress *address, const BkNbdReaderOptions *options, GCancellable *cancellable, GError **error)
{
  static const BkNbdReaderOptions none;
  NbdReader *self = g_new0 (NbdReader, 1);
  g_autoptr (BkReader) reader = &self->reader;
  options = options ? options : &none;
  reader->ops = &nbd_reader_ops;
  bk_nbd_workers_init (&self->workers, address);
  self->dirty_context = g_strdup (options->dirty_context);
  if (!connect_all (self, options, cancellable, error) || !check_contexts (self, error))
    return NULL;
  reader->size = bk_nbd_connection_size (self->workers.main);
  reader->block = bk_nbd_connection_block (self->workers.main);
  reader->max_request = largest_request (self, options->max_request);
  return g_steal_pointer (&reader);
}
