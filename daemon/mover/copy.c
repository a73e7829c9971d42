/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy.h"

#include "widen.h"

#include <inttypes.h>
#include <string.h>

/* More than two cores' worth, because some of them wait for the target. */
#define WORKERS 4
#define IN_FLIGHT 8
/* Where servers and page cache are at their best; a worker's buffers fit a processor's cache. */
#define REQUEST (256 * 1024)
/* With large blocks (a repository's may be 4 MiB), a worker holds no more than this: 32 MiB for all. */
#define WORKER_BYTES (8 * 1024 * 1024)
/* Runs that the walk may be ahead: 1.5 MiB. All runs of most disks, so that the total is known early. */
#define QUEUE_RUNS 65536
/* Zeroes are looked for in units of this size, so that data does not fall to pieces; or of one block, if larger. */
#define ZERO_UNIT (64 * 1024)
/* A rate that is shared changes without telling. */
#define LONGEST_WAIT_US (G_USEC_PER_SEC / 5)

typedef struct {
  uint64_t offset, length;
  bool zero;
} Run;

struct BkCopy {
  BkReader *reader;
  BkSink *sink;
  BkRate *rate;
  unsigned workers, in_flight;
  size_t request; /* of a read: a power of two */
  size_t piece;   /* of a worker's buffer: whole blocks and whole requests */
  uint64_t block;
  uint64_t end; /* of what goes to the sink: the reader's size, and what its last block lacks */

  GMutex mutex;
  GCond work;  /* for workers: there is some, or none any more, or the rate has changed */
  GCond space; /* for the walk: in the queue */
  Run *runs;   /* ring; allocated by bk_copy_run() */
  unsigned first, n_runs;
  bool walked; /* no run comes any more */
  bool paused;
  bool stopped;
  GError *error; /* the first one; why it is stopped */
  BkCopyCounters counters;
};

static size_t
power_of_two (size_t wanted, size_t most)
{
  size_t size = 4096;
  while (size < wanted)
    size *= 2;
  return most > 0 ? MIN (size, most) : size;
}

BkCopy *
bk_copy_new (BkReader *reader, BkSink *sink, const BkCopyOptions *options)
{
  static const BkCopyOptions none;
  BkCopy *copy = g_new0 (BkCopy, 1);
  options = options ? options : &none;
  copy->reader = reader;
  copy->sink = sink;
  copy->rate = options->rate ? bk_rate_ref (options->rate) : bk_rate_new (0);
  copy->block = MAX (sink->block, MAX (reader->block, 1));
  copy->request = power_of_two (MAX (options->request ? options->request : REQUEST, reader->block), reader->max_request);
  copy->piece = MAX (MAX (copy->request, copy->block), options->request ? options->request : REQUEST);
  copy->piece = (copy->piece + copy->block - 1) & ~(copy->block - 1);
  copy->workers = options->workers ? options->workers : WORKERS;
  copy->in_flight = options->in_flight ? options->in_flight : IN_FLIGHT;
  copy->in_flight = (unsigned)CLAMP (WORKER_BYTES / copy->piece, 1, copy->in_flight);
  g_mutex_init (&copy->mutex);
  g_cond_init (&copy->work);
  g_cond_init (&copy->space);
  return copy;
}

void
bk_copy_free (BkCopy *copy)
{
  if (copy == NULL)
    return;
  bk_rate_unref (copy->rate);
  g_clear_error (&copy->error);
  g_free (copy->runs);
  g_mutex_clear (&copy->mutex);
  g_cond_clear (&copy->work);
  g_cond_clear (&copy->space);
  g_free (copy);
}

/* --- from outside --- */

static void
set_paused (BkCopy *copy, bool paused)
{
  g_mutex_lock (&copy->mutex);
  copy->paused = paused;
  g_cond_broadcast (&copy->work);
  g_mutex_unlock (&copy->mutex);
}

void
bk_copy_pause (BkCopy *copy)
{
  set_paused (copy, true);
}

void
bk_copy_resume (BkCopy *copy)
{
  set_paused (copy, false);
}

void
bk_copy_set_speed (BkCopy *copy, uint64_t bytes_per_second)
{
  g_mutex_lock (&copy->mutex);
  bk_rate_set (copy->rate, bytes_per_second);
  g_cond_broadcast (&copy->work);
  g_mutex_unlock (&copy->mutex);
}

BkCopyCounters
bk_copy_counters (BkCopy *copy)
{
  g_mutex_lock (&copy->mutex);
  BkCopyCounters counters = copy->counters;
  g_mutex_unlock (&copy->mutex);
  return counters;
}

/* Ends it, for the reason that comes first (transfer full). Nobody waits for reader or sink any more. */
static void
stop (BkCopy *copy, GError *reason)
{
  g_mutex_lock (&copy->mutex);
  copy->stopped = true;
  if (copy->error == NULL)
    copy->error = g_steal_pointer (&reason);
  g_cond_broadcast (&copy->work);
  g_cond_broadcast (&copy->space);
  g_mutex_unlock (&copy->mutex);
  g_clear_error (&reason);
  bk_reader_interrupt (copy->reader);
  bk_sink_interrupt (copy->sink);
}

static void
on_cancelled (GCancellable *cancellable G_GNUC_UNUSED, gpointer copy)
{
  stop (copy, g_error_new_literal (BK_ERROR, BK_ERROR_CANCELLED, "cancelled"));
}

/* --- the queue --- */

/* Of a range that goes to the sink, the bytes that the reader has. */
static uint64_t
readable (const BkCopy *copy, uint64_t offset, uint64_t length)
{
  return MIN (length, copy->reader->size - offset);
}

static gboolean
put_run (BkCopy *copy, const Run *run, GError **error)
{
  while (copy->n_runs == QUEUE_RUNS && !copy->stopped)
    g_cond_wait (&copy->space, &copy->mutex);
  if (copy->stopped) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "stopped");
    return FALSE;
  }
  copy->runs[(copy->first + copy->n_runs++) % QUEUE_RUNS] = *run;
  copy->counters.total += readable (copy, run->offset, run->length);
  g_cond_broadcast (&copy->work);
  return TRUE;
}

/* An extent of whole blocks, from the walk. */
static gboolean
take_extent (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error)
{
  BkCopy *copy = user_data;
  gboolean ok = TRUE;
  if (offset + length == copy->reader->size)
    length = copy->end - offset;
  g_mutex_lock (&copy->mutex);
  if (kind == BK_EXTENT_CLEAN)
    copy->counters.clean += readable (copy, offset, length);
  else
    ok = put_run (copy, &(Run){ offset, length, kind == BK_EXTENT_ZERO }, error);
  g_mutex_unlock (&copy->mutex);
  return ok;
}

static void
end_of_walk (BkCopy *copy)
{
  g_mutex_lock (&copy->mutex);
  copy->walked = true;
  copy->counters.total_is_known = true;
  g_cond_broadcast (&copy->work);
  g_mutex_unlock (&copy->mutex);
}

static gboolean
walk (BkCopy *copy, GCancellable *cancellable, GError **error)
{
  BkWiden widen = { .block = copy->block, .func = take_extent, .user_data = copy };
  if (!bk_reader_extents (copy->reader, bk_widen_take, &widen, cancellable, error) || !bk_widen_finish (&widen, error))
    return FALSE;
  end_of_walk (copy);
  return TRUE;
}

/* What of the first run one worker takes: of zeroes all, of data up to the next multiple of the piece. */
static Run
first_piece (const BkCopy *copy)
{
  Run run = copy->runs[copy->first];
  if (!run.zero)
    run.length = MIN (run.length, copy->piece - run.offset % copy->piece);
  return run;
}

static void
drop_first (BkCopy *copy, uint64_t length)
{
  Run *run = &copy->runs[copy->first];
  run->offset += length;
  run->length -= length;
  if (run->length > 0)
    return;
  copy->first = (copy->first + 1) % QUEUE_RUNS;
  copy->n_runs--;
  g_cond_signal (&copy->space);
}

typedef enum { TAKEN, LATER, NOTHING_LEFT } Take;

/* How long the first piece has to wait, in microseconds; -1 = until something changes. */
static int64_t
time_to_wait (BkCopy *copy)
{
  if (copy->paused || copy->n_runs == 0)
    return -1;
  Run run = first_piece (copy);
  return run.zero ? 0 : bk_rate_take (copy->rate, run.length, g_get_monotonic_time ());
}

/* The next piece of work. @may_wait: LATER is no answer. */
static Take
take_piece (BkCopy *copy, bool may_wait, Run *piece)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&copy->mutex);
  while (!copy->stopped && !(copy->walked && copy->n_runs == 0)) {
    int64_t wait = time_to_wait (copy);
    if (wait == 0) {
      *piece = first_piece (copy);
      drop_first (copy, piece->length);
      return TAKEN;
    }
    if (!may_wait)
      return LATER;
    if (wait < 0)
      g_cond_wait (&copy->work, &copy->mutex);
    else
      g_cond_wait_until (&copy->work, &copy->mutex, g_get_monotonic_time () + MIN (wait, LONGEST_WAIT_US));
  }
  return NOTHING_LEFT;
}

/* --- a worker --- */

typedef struct Buffer Buffer;

/* A read of a part of a buffer. */
typedef struct {
  BkRequest request; /* first: that is what comes back */
  Buffer *buffer;
} Part;

struct Buffer {
  uint8_t *data;
  Part *parts;
  unsigned pending; /* parts in flight; 0 = the buffer is free */
  uint64_t offset;
  size_t length;
};

typedef struct {
  BkCopy *copy;
  unsigned number;
  Buffer *buffers; /* in_flight of them */
  unsigned busy;   /* buffers with parts in flight */
} Worker;

static void
count (BkCopy *copy, uint64_t transferred, uint64_t read, uint64_t zero)
{
  g_mutex_lock (&copy->mutex);
  copy->counters.transferred += transferred;
  copy->counters.read += read;
  copy->counters.zero += zero;
  g_mutex_unlock (&copy->mutex);
}

/* Compares each byte with the one 16 before it, as fast as memcmp() is. */
static bool
is_zero (const uint8_t *data, size_t length)
{
  static const uint8_t zeroes[16];
  size_t head = MIN (length, sizeof zeroes);
  return memcmp (data, zeroes, head) == 0 && memcmp (data, data + head, length - head) == 0;
}

static gboolean
zero_range (Worker *worker, uint64_t offset, uint64_t length, GError **error)
{
  BkSink *sink = worker->copy->sink;
  return !sink->wants_zeroes || bk_sink_zero (sink, worker->number, offset, length, error);
}

/* Where the unit that begins at @start ends; both are positions in the buffer. */
static size_t
end_of_unit (const BkCopy *copy, const Buffer *buffer, size_t start)
{
  uint64_t unit = MAX (copy->block, ZERO_UNIT);
  return start + (size_t)MIN (buffer->length - start, unit - (buffer->offset + start) % unit);
}

/* The end of the run of units that are all zero, or all not, and which of both. */
static size_t
end_of_run (const BkCopy *copy, const Buffer *buffer, size_t start, bool *zero)
{
  size_t end = end_of_unit (copy, buffer, start);
  *zero = is_zero (buffer->data + start, end - start);
  while (end < buffer->length) {
    size_t next = end_of_unit (copy, buffer, end);
    if (is_zero (buffer->data + end, next - end) != *zero)
      break;
    end = next;
  }
  return end;
}

/* What has been read goes to the sink. */
static gboolean
store (Worker *worker, const Buffer *buffer, GError **error)
{
  BkCopy *copy = worker->copy;
  for (size_t start = 0, end; start < buffer->length; start = end) {
    bool zero = false;
    end = end_of_run (copy, buffer, start, &zero);
    uint64_t offset = buffer->offset + start, length = readable (copy, offset, end - start);
    if (zero ? !zero_range (worker, offset, end - start, error)
             : !bk_sink_write (copy->sink, worker->number, offset, buffer->data + start, end - start, error))
      return FALSE;
    count (copy, length, length, zero ? length : 0);
  }
  return TRUE;
}

static Buffer *
free_buffer (const Worker *worker)
{
  for (unsigned i = 0; i < worker->copy->in_flight; i++)
    if (worker->buffers[i].pending == 0)
      return &worker->buffers[i];
  g_assert_not_reached ();
}

/* The n-th part of a buffer: up to the next multiple of the request's size. FALSE: there are no more. */
static bool
make_part (const BkCopy *copy, Buffer *buffer, unsigned n, Part **part)
{
  uint64_t end = buffer->offset + readable (copy, buffer->offset, buffer->length);
  uint64_t start = n == 0 ? buffer->offset : (buffer->offset & ~(uint64_t)(copy->request - 1)) + (uint64_t)n * copy->request;
  if (start >= end)
    return false;
  uint64_t next = (start & ~(uint64_t)(copy->request - 1)) + copy->request;
  *part = &buffer->parts[n];
  **part = (Part){ .buffer = buffer, .request = { .offset = start, .length = (size_t)(MIN (next, end) - start) } };
  (*part)->request.data = buffer->data + (start - buffer->offset);
  return true;
}

/* What the reader does not have of the last block is zero. */
static void
set_up (const BkCopy *copy, Buffer *buffer, const Run *piece)
{
  buffer->offset = piece->offset;
  buffer->length = (size_t)piece->length;
  size_t length = (size_t)readable (copy, piece->offset, piece->length);
  memset (buffer->data + length, 0, buffer->length - length);
}

static gboolean
start_reading (Worker *worker, const Run *piece, GError **error)
{
  BkCopy *copy = worker->copy;
  Buffer *buffer = free_buffer (worker);
  Part *part = NULL;
  set_up (copy, buffer, piece);
  for (unsigned n = 0; make_part (copy, buffer, n, &part); n++) {
    if (!bk_reader_start (copy->reader, worker->number, &part->request, error))
      return FALSE;
    if (buffer->pending++ == 0)
      worker->busy++;
  }
  return TRUE;
}

static gboolean
read_now (Worker *worker, const Run *piece, GError **error)
{
  BkCopy *copy = worker->copy;
  Buffer *buffer = &worker->buffers[0];
  Part *part = NULL;
  set_up (copy, buffer, piece);
  for (unsigned n = 0; make_part (copy, buffer, n, &part); n++)
    if (!bk_reader_read (copy->reader, worker->number, part->request.offset, part->request.data, part->request.length, error))
      return FALSE;
  return store (worker, buffer, error);
}

static gboolean
carry_zeroes (Worker *worker, const Run *piece, GError **error)
{
  uint64_t length = readable (worker->copy, piece->offset, piece->length);
  if (!zero_range (worker, piece->offset, piece->length, error))
    return FALSE;
  count (worker->copy, length, 0, length);
  return TRUE;
}

static gboolean
begin (Worker *worker, const Run *piece, GError **error)
{
  if (piece->zero)
    return carry_zeroes (worker, piece, error);
  if (worker->copy->reader->ops->start == NULL)
    return read_now (worker, piece, error);
  return start_reading (worker, piece, error);
}

/* Waits for one part; stores the buffer whose last one it was. */
static gboolean
come_back (Worker *worker, GError **error)
{
  BkRequest *request = bk_reader_wait (worker->copy->reader, worker->number, error);
  if (request == NULL)
    return FALSE;
  Buffer *buffer = ((Part *)request)->buffer;
  if (request->error) {
    g_propagate_error (error, g_steal_pointer (&request->error));
    return FALSE;
  }
  if (--buffer->pending > 0)
    return TRUE;
  worker->busy--;
  return store (worker, buffer, error);
}

/* Keeps as many in flight as it may, and works on what comes back. */
static gboolean
work (Worker *worker, GError **error)
{
  BkCopy *copy = worker->copy;
  Take take = TAKEN;
  while (take != NOTHING_LEFT || worker->busy > 0) {
    Run piece;
    take = worker->busy < copy->in_flight ? take_piece (copy, worker->busy == 0, &piece) : LATER;
    if (take == TAKEN && !begin (worker, &piece, error))
      return FALSE;
    if (take != TAKEN && worker->busy > 0 && !come_back (worker, error))
      return FALSE;
  }
  return TRUE;
}

/* After a failure the reader may still write into buffers: until it is interrupted, and says so. */
static void
drain (Worker *worker)
{
  BkRequest *request = NULL;
  while (worker->busy > 0 && (request = bk_reader_wait (worker->copy->reader, worker->number, NULL))) {
    g_clear_error (&request->error);
    if (--((Part *)request)->buffer->pending == 0)
      worker->busy--;
  }
}

static void
make_buffers (Worker *worker)
{
  const BkCopy *copy = worker->copy;
  worker->buffers = g_new0 (Buffer, copy->in_flight);
  for (unsigned i = 0; i < copy->in_flight; i++) {
    worker->buffers[i].data = g_malloc (copy->piece);
    worker->buffers[i].parts = g_new0 (Part, copy->piece / copy->request + 2);
  }
}

static void
free_buffers (Worker *worker)
{
  for (unsigned i = 0; i < worker->copy->in_flight; i++) {
    g_free (worker->buffers[i].data);
    g_free (worker->buffers[i].parts);
  }
  g_free (worker->buffers);
}

static gpointer
worker_thread (gpointer data)
{
  Worker *worker = data;
  GError *error = NULL;
  make_buffers (worker);
  if (!work (worker, &error)) {
    stop (worker->copy, error);
    drain (worker);
  }
  free_buffers (worker);
  return NULL;
}

/* --- the whole --- */

static gboolean
check_sizes (BkCopy *copy, GError **error)
{
  uint64_t size = copy->reader->size;
  if (size > copy->sink->size) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the target has %" PRIu64 " bytes, the disk %" PRIu64, copy->sink->size, size);
    return FALSE;
  }
  copy->end = MIN ((size + copy->block - 1) & ~(copy->block - 1), copy->sink->size);
  return TRUE;
}

/* Starts the workers, and walks the extents for them; returns when all have ended. The outcome is in copy->error. */
static void
run_workers (BkCopy *copy, GCancellable *cancellable)
{
  g_autofree Worker *workers = g_new0 (Worker, copy->workers);
  g_autofree GThread **threads = g_new0 (GThread *, copy->workers);
  GError *error = NULL;
  for (unsigned i = 0; i < copy->workers && error == NULL; i++) {
    workers[i] = (Worker){ .copy = copy, .number = i };
    threads[i] = g_thread_try_new ("bk-copy", worker_thread, &workers[i], &error);
  }
  if (error)
    g_prefix_error (&error, "cannot start a thread: ");
  if (error || !walk (copy, cancellable, &error))
    stop (copy, error);
  for (unsigned i = 0; i < copy->workers && threads[i]; i++)
    g_thread_join (threads[i]);
}

static gboolean
carry (BkCopy *copy, GCancellable *cancellable, GError **error)
{
  if (!check_sizes (copy, error) || !bk_reader_open (copy->reader, copy->workers, cancellable, error) ||
      !bk_sink_open (copy->sink, copy->workers, cancellable, error))
    return FALSE;
  copy->runs = g_new (Run, QUEUE_RUNS);
  run_workers (copy, cancellable);
  return copy->error == NULL && bk_sink_finish (copy->sink, cancellable, error);
}

gboolean
bk_copy_run (BkCopy *copy, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL; /* of opening or finishing */
  g_assert (copy->runs == NULL);
  gulong handler = cancellable ? g_cancellable_connect (cancellable, G_CALLBACK (on_cancelled), copy, NULL) : 0;
  gboolean ok = carry (copy, cancellable, &failure);
  if (cancellable)
    g_cancellable_disconnect (cancellable, handler);
  if (ok)
    return TRUE;
  GError *first = copy->error ? g_error_copy (copy->error) : g_steal_pointer (&failure);
  g_propagate_error (error, first);
  return FALSE;
}
