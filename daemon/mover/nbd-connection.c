/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-connection.h"

#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CONNECT_S 10
/* What servers take that do not say how much they do, as the NBD specification has it. */
#define MAX_REQUEST (32 * 1024 * 1024)
/* The only sign that QEMU gives of it. */
#define BROKEN_SNAPSHOT " (a snapshot of QEMU answers so once it is broken, as its scratch space was full or too slow)"

struct BkNbdInterrupt {
  int fd; /* readable from when it is raised on */
};

/* What came back, and waits for its lane to fetch it. */
typedef struct {
  gpointer tag;
  int errsv;
} Result;

struct BkNbdConnection {
  char *name; /* for messages */
  struct nbd_handle *handle; /* NULL once it is dead */
  BkNbdInterrupt *interrupt;
  unsigned n_lanes;

  GMutex mutex; /* for all below, and for calls of the handle that move bytes */
  GCond moved;
  GArray **lanes; /* of Result */
  bool moving;    /* some lane waits at the socket, for all */
  int kick;       /* eventfd: makes that one look again */
  GError *dead;   /* why nothing comes back any more */
};

/* A command on its way. */
typedef struct {
  BkNbdConnection *connection;
  unsigned lane;
  gpointer tag;
  BkNbdStatusFunc status;
} Flight;

/* --- interrupt --- */

BkNbdInterrupt *
bk_nbd_interrupt_new (void)
{
  BkNbdInterrupt *interrupt = g_new0 (BkNbdInterrupt, 1);
  interrupt->fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  g_assert (interrupt->fd >= 0);
  return interrupt;
}

static void
signal_event (int fd)
{
  uint64_t one = 1;
  ssize_t n = write (fd, &one, sizeof one);
  g_assert (n == sizeof one || errno == EAGAIN); /* EAGAIN: it is signalled more than enough */
}

void
bk_nbd_interrupt_raise (BkNbdInterrupt *interrupt)
{
  signal_event (interrupt->fd);
}

void
bk_nbd_interrupt_free (BkNbdInterrupt *interrupt)
{
  close (interrupt->fd);
  g_free (interrupt);
}

/* --- addresses --- */

void
bk_nbd_address_copy (BkNbdAddress *copy, const BkNbdAddress *address)
{
  *copy = (BkNbdAddress){
    .uri = g_strdup (address->uri),
    .socket_path = g_strdup (address->socket_path),
    .export_name = g_strdup (address->export_name),
    .tls = address->tls,
    .tls_certificates = g_strdup (address->tls_certificates),
    .tls_psk_file = g_strdup (address->tls_psk_file),
    .tls_username = g_strdup (address->tls_username),
  };
}

void
bk_nbd_address_clear (BkNbdAddress *copy)
{
  g_free ((char *)copy->uri);
  g_free ((char *)copy->socket_path);
  g_free ((char *)copy->export_name);
  g_free ((char *)copy->tls_certificates);
  g_free ((char *)copy->tls_psk_file);
  g_free ((char *)copy->tls_username);
}

char *
bk_nbd_address_describe (const BkNbdAddress *address)
{
  if (address->uri)
    return g_strdup (address->uri);
  const char *export_name = address->export_name ? address->export_name : "";
  return g_strdup_printf ("NBD export '%s' on '%s'", export_name, address->socket_path);
}

/* --- errors --- */

/* The library's words for the calling thread's last error, without the name of its function. */
static const char *
library_error (void)
{
  const char *text = nbd_get_error ();
  const char *colon = text ? strstr (text, ": ") : NULL;
  if (colon && g_str_has_prefix (text, "nbd_"))
    text = colon + 2;
  return text ? text : "unknown error";
}

static gboolean
set_library_error (const BkNbdConnection *connection, BkErrorCode code, GError **error)
{
  g_set_error (error, BK_ERROR, code, "%s: %s", connection->name, library_error ());
  return FALSE;
}

static BkErrorCode
code_of_errno (int errsv)
{
  switch (errsv) {
  case ENOSPC:
  case EDQUOT:
    return BK_ERROR_NO_SPACE;
  case EPERM:
  case EACCES:
  case EROFS:
    return BK_ERROR_DENIED;
  case ENOTCONN:
  case ESHUTDOWN:
    return BK_ERROR_UNREACHABLE;
  default:
    return BK_ERROR_FAILED;
  }
}

gboolean
bk_nbd_connection_set_error (BkNbdConnection *connection, const BkNbdCommand *command, int errsv, GError **error)
{
  static const char *const verbs[] = { "read", "write", "zero", "flush", "ask for the extents of" };
  bool reads = command->operation == BK_NBD_READ || command->operation == BK_NBD_STATUS;
  if (errsv == ENOTCONN || errsv == ESHUTDOWN)
    g_set_error (error, BK_ERROR, code_of_errno (errsv), "%s: the connection is lost", connection->name);
  else if (command->operation == BK_NBD_FLUSH)
    g_set_error (error, BK_ERROR, code_of_errno (errsv), "%s: cannot flush: %s", connection->name, g_strerror (errsv));
  else
    g_set_error (error, BK_ERROR, code_of_errno (errsv), "%s: cannot %s %" PRIu64 " bytes at %" PRIu64 ": %s%s", connection->name,
                 verbs[command->operation], command->length, command->offset, g_strerror (errsv),
                 errsv == EINVAL && reads ? BROKEN_SNAPSHOT : "");
  return FALSE;
}

/* --- the state of the connection --- */

/* Nothing is waited for any more; all buffers are their owners' again. */
static void
die (BkNbdConnection *connection, GError *reason)
{
  g_assert (connection->dead == NULL);
  connection->dead = reason;
  g_clear_pointer (&connection->handle, nbd_close);
  g_cond_broadcast (&connection->moved);
}

static GError *
lost (const BkNbdConnection *connection, const char *why)
{
  return g_error_new (BK_ERROR, BK_ERROR_UNREACHABLE, "%s: the connection is lost: %s", connection->name, why);
}

/* Waits at the socket, up to @timeout_ms, or until interrupted (FALSE), cancelled (FALSE), or kicked. */
static gboolean
wait_at_socket (BkNbdConnection *connection, GPollFD *cancelled, int timeout_ms)
{
  unsigned direction = nbd_aio_get_direction (connection->handle);
  GPollFD fds[] = {
    { nbd_aio_get_fd (connection->handle), 0, 0 },
    { connection->interrupt->fd, G_IO_IN, 0 },
    { connection->kick, G_IO_IN, 0 },
    *cancelled,
  };
  if (direction & LIBNBD_AIO_DIRECTION_READ)
    fds[0].events |= G_IO_IN;
  if (direction & LIBNBD_AIO_DIRECTION_WRITE)
    fds[0].events |= G_IO_OUT;
  g_poll (fds, G_N_ELEMENTS (fds), timeout_ms);
  return fds[1].revents == 0 && fds[3].revents == 0;
}

static bool
is_gone (BkNbdConnection *connection)
{
  return nbd_aio_is_dead (connection->handle) == 1 || nbd_aio_is_closed (connection->handle) == 1;
}

/* --- connecting --- */

static bool
wants_tls (const BkNbdAddress *address)
{
  return address->tls || address->tls_certificates || address->tls_psk_file;
}

static bool
set_up_tls (struct nbd_handle *handle, const BkNbdAddress *address)
{
  return (!wants_tls (address) || nbd_set_tls (handle, LIBNBD_TLS_REQUIRE) == 0) &&
         (!address->tls_certificates || nbd_set_tls_certificates (handle, address->tls_certificates) == 0) &&
         (!address->tls_psk_file || nbd_set_tls_psk_file (handle, address->tls_psk_file) == 0) &&
         (!address->tls_username || nbd_set_tls_username (handle, address->tls_username) == 0);
}

static bool
set_up (struct nbd_handle *handle, const BkNbdAddress *address, const char *const *contexts)
{
  for (; contexts && *contexts; contexts++)
    if (nbd_add_meta_context (handle, *contexts) < 0)
      return false;
  return (!address->export_name || nbd_set_export_name (handle, address->export_name) == 0) &&
         set_up_tls (handle, address) && nbd_set_opt_mode (handle, true) == 0 &&
         nbd_set_pread_initialize (handle, false) == 0 && /* what was not read is not looked at */
         nbd_set_uri_allow_transports (handle, LIBNBD_ALLOW_TRANSPORT_TCP | LIBNBD_ALLOW_TRANSPORT_UNIX) == 0 &&
         nbd_set_uri_allow_local_file (handle, true) == 0; /* tls-psk-file=: a URI comes from who may name files to us */
}

typedef struct {
  GPollFD cancelled;
  gint64 deadline;
} Patience;

/* Moves bytes until @is_over holds. */
static gboolean
move_until (BkNbdConnection *connection, bool (*is_over) (BkNbdConnection *connection), Patience *patience, GError **error)
{
  while (!is_over (connection)) {
    gint64 left = (patience->deadline - g_get_monotonic_time ()) / 1000;
    if (left <= 0) {
      g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "%s: no answer within %d s", connection->name, CONNECT_S);
      return FALSE;
    }
    if (!wait_at_socket (connection, &patience->cancelled, (int)left)) {
      g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
      return FALSE;
    }
    if (nbd_poll (connection->handle, 0) < 0)
      return FALSE; /* the caller tells what that means */
  }
  return TRUE;
}

/* The server has greeted us, or will not. */
static bool
has_met (BkNbdConnection *connection)
{
  return is_gone (connection) || nbd_aio_is_connecting (connection->handle) == 0;
}

static bool
is_of_network (int errsv)
{
  static const int network[] = { ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ENOENT, ETIMEDOUT };
  for (size_t i = 0; i < G_N_ELEMENTS (network); i++)
    if (errsv == network[i])
      return true;
  return false;
}

/* The library has no errno of its own for keys and certificates that do not fit. */
static gboolean
set_meeting_error (const BkNbdConnection *connection, bool tls, GError **error)
{
  int errsv = nbd_get_errno ();
  bool denied = errsv == EPERM || errsv == EACCES || (tls && !is_of_network (errsv));
  return set_library_error (connection, denied ? BK_ERROR_DENIED : BK_ERROR_UNREACHABLE, error);
}

static gboolean
meet (BkNbdConnection *connection, const BkNbdAddress *address, Patience *patience, GError **error)
{
  GError *failure = NULL;
  int begun = address->uri ? nbd_aio_connect_uri (connection->handle, address->uri)
                           : nbd_aio_connect_unix (connection->handle, address->socket_path);
  bool tls = nbd_get_tls (connection->handle) == LIBNBD_TLS_REQUIRE;
  if (begun < 0 && nbd_get_errno () == EINVAL && address->uri)
    return set_library_error (connection, BK_ERROR_INVALID, error);
  if (begun == 0 && move_until (connection, has_met, patience, &failure) && !is_gone (connection))
    return TRUE;
  if (failure == NULL)
    return set_meeting_error (connection, tls, error);
  g_propagate_error (error, failure);
  return FALSE;
}

static int
note_answer (void *answer, int *errsv)
{
  *(int *)answer = *errsv;
  return 1;
}

static gboolean
set_entry_error (const BkNbdConnection *connection, int answer, GError **error)
{
  if (answer == ENOENT) {
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "%s: the server has no such export", connection->name);
    return FALSE;
  }
  if (answer == ENOTSUP && nbd_get_tls_negotiated (connection->handle) != 1) {
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "%s: the server refuses; perhaps it wants TLS", connection->name);
    return FALSE;
  }
  bool denied = answer == EPERM || answer == EACCES;
  g_set_error (error, BK_ERROR, denied ? BK_ERROR_DENIED : BK_ERROR_UNREACHABLE, "%s: the server refuses: %s", connection->name,
               answer ? g_strerror (answer) : library_error ());
  return FALSE;
}

/* Goes from the greeting to the export. */
static gboolean
enter (BkNbdConnection *connection, Patience *patience, GError **error)
{
  GError *failure = NULL;
  int answer = 0;
  if (nbd_aio_is_ready (connection->handle) == 1) /* an old server, which has but one export */
    return TRUE;
  nbd_completion_callback callback = { .callback = note_answer, .user_data = &answer };
  if (nbd_aio_opt_go (connection->handle, callback) == 0 && move_until (connection, has_met, patience, &failure) &&
      nbd_aio_is_ready (connection->handle) == 1)
    return TRUE;
  if (failure == NULL)
    return set_entry_error (connection, answer, error);
  g_propagate_error (error, failure);
  return FALSE;
}

static gboolean
connect_within (BkNbdConnection *connection, const BkNbdAddress *address, GCancellable *cancellable, GError **error)
{
  Patience patience = { { -1, G_IO_IN, 0 }, g_get_monotonic_time () + CONNECT_S * G_USEC_PER_SEC };
  bool pollable = cancellable && g_cancellable_make_pollfd (cancellable, &patience.cancelled);
  gboolean ok = meet (connection, address, &patience, error) && enter (connection, &patience, error);
  if (pollable)
    g_cancellable_release_fd (cancellable);
  return ok;
}

static GArray **
make_lanes (unsigned n)
{
  GArray **lanes = g_new0 (GArray *, n);
  for (unsigned i = 0; i < n; i++)
    lanes[i] = g_array_new (FALSE, FALSE, sizeof (Result));
  return lanes;
}

static void
free_lanes (BkNbdConnection *connection)
{
  for (unsigned i = 0; i < connection->n_lanes; i++)
    g_array_unref (connection->lanes[i]);
  g_free (connection->lanes);
}

void
bk_nbd_connection_set_lanes (BkNbdConnection *connection, unsigned lanes)
{
  free_lanes (connection);
  connection->n_lanes = lanes;
  connection->lanes = make_lanes (lanes);
}

BkNbdConnection *
bk_nbd_connection_new (const BkNbdAddress *address, const char *const *contexts, BkNbdInterrupt *interrupt, GCancellable *cancellable, GError **error)
{
  g_autoptr (BkNbdConnection) connection = g_new0 (BkNbdConnection, 1);
  g_mutex_init (&connection->mutex);
  g_cond_init (&connection->moved);
  connection->name = bk_nbd_address_describe (address);
  connection->interrupt = interrupt;
  connection->n_lanes = 1;
  connection->lanes = make_lanes (1);
  connection->kick = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  connection->handle = nbd_create ();
  g_assert (connection->handle && connection->kick >= 0);
  if (!set_up (connection->handle, address, contexts)) {
    set_library_error (connection, BK_ERROR_INVALID, error);
    return NULL;
  }
  if (!connect_within (connection, address, cancellable, error))
    return NULL;
  return g_steal_pointer (&connection);
}

void
bk_nbd_connection_free (BkNbdConnection *connection)
{
  if (connection == NULL)
    return;
  if (connection->handle && nbd_aio_is_ready (connection->handle) == 1)
    nbd_aio_disconnect (connection->handle, 0); /* a word of farewell; nobody waits for anything */
  nbd_close (connection->handle);
  free_lanes (connection);
  g_clear_error (&connection->dead);
  g_mutex_clear (&connection->mutex);
  g_cond_clear (&connection->moved);
  close (connection->kick);
  g_free (connection->name);
  g_free (connection);
}

/* --- what the server told --- */

uint64_t
bk_nbd_connection_size (BkNbdConnection *connection)
{
  return (uint64_t)MAX (nbd_get_size (connection->handle), 0);
}

static bool
is_power_of_two (int64_t n)
{
  return n > 0 && (n & (n - 1)) == 0;
}

uint32_t
bk_nbd_connection_block (BkNbdConnection *connection)
{
  int64_t block = nbd_get_block_size (connection->handle, LIBNBD_SIZE_MINIMUM);
  return is_power_of_two (block) && block <= MAX_REQUEST ? (uint32_t)block : 1;
}

size_t
bk_nbd_connection_max_request (BkNbdConnection *connection)
{
  int64_t told = nbd_get_block_size (connection->handle, LIBNBD_SIZE_MAXIMUM);
  size_t most = MAX_REQUEST;
  while (told > 0 && (int64_t)most > told && most > bk_nbd_connection_block (connection))
    most /= 2;
  return most;
}

gboolean
bk_nbd_connection_is_read_only (BkNbdConnection *connection)
{
  return nbd_is_read_only (connection->handle) == 1;
}

gboolean
bk_nbd_connection_can_multi (BkNbdConnection *connection)
{
  return nbd_can_multi_conn (connection->handle) == 1;
}

gboolean
bk_nbd_connection_can_zero (BkNbdConnection *connection)
{
  return nbd_can_zero (connection->handle) == 1;
}

gboolean
bk_nbd_connection_can_flush (BkNbdConnection *connection)
{
  return nbd_can_flush (connection->handle) == 1;
}

gboolean
bk_nbd_connection_has_context (BkNbdConnection *connection, const char *context)
{
  return nbd_can_meta_context (connection->handle, context) == 1;
}

/* --- commands --- */

/* The library calls these in a thread that has the mutex. */

static int
note_result (void *user_data, int *errsv)
{
  const Flight *flight = user_data;
  Result result = { flight->tag, *errsv };
  g_array_append_val (flight->connection->lanes[flight->lane], result);
  return 1;
}

static int
note_status (void *user_data, const char *context, uint64_t offset, uint32_t *entries, size_t n_entries, int *errsv)
{
  const Flight *flight = user_data;
  if (*errsv == 0)
    flight->status (context, offset, entries, n_entries, flight->tag);
  return 0;
}

static int64_t
send_command (struct nbd_handle *handle, const BkNbdCommand *command, Flight *flight)
{
  nbd_completion_callback done = { .callback = note_result, .user_data = flight, .free = g_free };
  nbd_extent_callback extent = { .callback = note_status, .user_data = flight };
  size_t length = (size_t)command->length;
  switch (command->operation) {
  case BK_NBD_READ:
    return nbd_aio_pread (handle, command->data, length, command->offset, done, 0);
  case BK_NBD_WRITE:
    return nbd_aio_pwrite (handle, command->data, length, command->offset, done, 0);
  case BK_NBD_ZERO:
    return nbd_aio_zero (handle, command->length, command->offset, done, 0);
  case BK_NBD_FLUSH:
    return nbd_aio_flush (handle, done, 0);
  case BK_NBD_STATUS:
  default:
    return nbd_aio_block_status (handle, command->length, command->offset, extent, done, 0);
  }
}

gboolean
bk_nbd_connection_start (BkNbdConnection *connection, unsigned lane, const BkNbdCommand *command, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&connection->mutex);
  if (connection->dead) {
    g_propagate_error (error, g_error_copy (connection->dead));
    return FALSE;
  }
  Flight *flight = g_new (Flight, 1); /* the library frees it */
  *flight = (Flight){ connection, lane, command->user_data, command->status };
  if (send_command (connection->handle, command, flight) < 0) {
    int errsv = nbd_get_errno ();
    return is_gone (connection) ? bk_nbd_connection_set_error (connection, command, ENOTCONN, error)
                                : bk_nbd_connection_set_error (connection, command, errsv ? errsv : EIO, error);
  }
  if (connection->moving) /* he waits to read; there may be something to write now */
    signal_event (connection->kick);
  return TRUE;
}

/* Waits at the socket for all lanes, without the mutex, and moves what is there. */
static void
move_for_all (BkNbdConnection *connection)
{
  GPollFD nobody = { -1, 0, 0 };
  uint64_t kicks = 0;
  connection->moving = true;
  g_mutex_unlock (&connection->mutex);
  bool free_to_go = wait_at_socket (connection, &nobody, -1);
  g_mutex_lock (&connection->mutex);
  connection->moving = false;
  ssize_t n = read (connection->kick, &kicks, sizeof kicks);
  (void)n; /* EAGAIN: nobody did */
  if (!free_to_go)
    die (connection, g_error_new_literal (BK_ERROR, BK_ERROR_CANCELLED, "cancelled"));
  else if (nbd_poll (connection->handle, 0) < 0)
    die (connection, lost (connection, library_error ()));
  else if (is_gone (connection))
    die (connection, lost (connection, "the server has closed it"));
  g_cond_broadcast (&connection->moved);
}

gboolean
bk_nbd_connection_wait (BkNbdConnection *connection, unsigned lane, gpointer *tag, int *errsv, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&connection->mutex);
  GArray *results = connection->lanes[lane];
  while (results->len == 0 && connection->dead == NULL)
    if (connection->moving)
      g_cond_wait (&connection->moved, &connection->mutex);
    else
      move_for_all (connection);
  if (results->len == 0) {
    g_propagate_error (error, g_error_copy (connection->dead));
    return FALSE;
  }
  Result result = g_array_index (results, Result, 0);
  g_array_remove_index (results, 0);
  *tag = result.tag;
  *errsv = result.errsv;
  return TRUE;
}

gboolean
bk_nbd_connection_do (BkNbdConnection *connection, unsigned lane, const BkNbdCommand *command, GError **error)
{
  gpointer tag = NULL;
  int errsv = 0;
  if (!bk_nbd_connection_start (connection, lane, command, error) || !bk_nbd_connection_wait (connection, lane, &tag, &errsv, error))
    return FALSE;
  return errsv == 0 || bk_nbd_connection_set_error (connection, command, errsv, error);
}
