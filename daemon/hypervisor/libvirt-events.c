/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-events.h"

#include <glib-unix.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>

struct BkLibvirtEvents {
  GMainContext *context;
  GMainLoop *loop;
  GThread *thread;
  GMutex mutex;
  GHashTable *entries; /* number to Entry */
  int last;
};

/* A descriptor or a timer. */
typedef struct {
  gatomicrefcount refs;
  int number;
  int fd;          /* -1 = a timer */
  int events;      /* or milliseconds */
  GSource *source; /* NULL while it sleeps */
  virEventHandleCallback on_handle;
  virEventTimeoutCallback on_timeout;
  void *opaque;
  virFreeCallback free_opaque;
} Entry;

static BkLibvirtEvents *the_events;

static Entry *
entry_ref (Entry *entry)
{
  g_atomic_ref_count_inc (&entry->refs);
  return entry;
}

static void
entry_unref (gpointer data)
{
  Entry *entry = data;
  if (g_atomic_ref_count_dec (&entry->refs))
    g_free (entry);
}

static GIOCondition
condition_of (int events)
{
  GIOCondition condition = 0;
  if (events & VIR_EVENT_HANDLE_READABLE)
    condition |= G_IO_IN;
  if (events & VIR_EVENT_HANDLE_WRITABLE)
    condition |= G_IO_OUT;
  if (events & VIR_EVENT_HANDLE_ERROR)
    condition |= G_IO_ERR;
  if (events & VIR_EVENT_HANDLE_HANGUP)
    condition |= G_IO_HUP;
  return condition;
}

static int
events_of (GIOCondition condition)
{
  int events = 0;
  if (condition & G_IO_IN)
    events |= VIR_EVENT_HANDLE_READABLE;
  if (condition & G_IO_OUT)
    events |= VIR_EVENT_HANDLE_WRITABLE;
  if (condition & (G_IO_ERR | G_IO_NVAL))
    events |= VIR_EVENT_HANDLE_ERROR;
  if (condition & G_IO_HUP)
    events |= VIR_EVENT_HANDLE_HANGUP;
  return events;
}

static gboolean
on_fd (int fd, GIOCondition condition, gpointer data)
{
  Entry *entry = data;
  entry->on_handle (entry->number, fd, events_of (condition), entry->opaque);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_time (gpointer data)
{
  Entry *entry = data;
  entry->on_timeout (entry->number, entry->opaque);
  return G_SOURCE_CONTINUE;
}

/* --- with the mutex --- */

static void
sleep_entry (Entry *entry)
{
  if (entry->source == NULL)
    return;
  g_source_destroy (entry->source);
  g_clear_pointer (&entry->source, g_source_unref);
}

static void
wake_entry (Entry *entry)
{
  sleep_entry (entry);
  bool is_timer = entry->fd < 0;
  if (is_timer ? entry->events < 0 : condition_of (entry->events) == 0)
    return;
  entry->source = is_timer ? g_timeout_source_new ((guint)entry->events) : g_unix_fd_source_new (entry->fd, condition_of (entry->events));
  if (is_timer)
    g_source_set_callback (entry->source, on_time, entry_ref (entry), entry_unref);
  else
    g_source_set_callback (entry->source, G_SOURCE_FUNC (on_fd), entry_ref (entry), entry_unref);
  g_source_attach (entry->source, the_events->context);
}

static int
add (Entry *entry)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&the_events->mutex);
  g_atomic_ref_count_init (&entry->refs);
  entry->number = ++the_events->last;
  g_hash_table_insert (the_events->entries, GINT_TO_POINTER (entry->number), entry);
  wake_entry (entry);
  return entry->number;
}

static void
update (int number, int events)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&the_events->mutex);
  Entry *entry = g_hash_table_lookup (the_events->entries, GINT_TO_POINTER (number));
  if (entry == NULL)
    return;
  entry->events = events;
  wake_entry (entry);
}

/* libvirt holds locks that the function for the opaque data may want: not here and now. */
static gboolean
free_later (gpointer data)
{
  Entry *entry = data;
  if (entry->free_opaque)
    entry->free_opaque (entry->opaque);
  return G_SOURCE_REMOVE;
}

static int
remove_entry (int number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&the_events->mutex);
  Entry *entry = g_hash_table_lookup (the_events->entries, GINT_TO_POINTER (number));
  if (entry == NULL)
    return -1;
  sleep_entry (entry);
  g_autoptr (GSource) source = g_idle_source_new ();
  g_source_set_callback (source, free_later, entry_ref (entry), entry_unref);
  g_source_attach (source, the_events->context);
  g_hash_table_remove (the_events->entries, GINT_TO_POINTER (number));
  return 0;
}

/* --- what libvirt calls --- */

static int
add_handle (int fd, int events, virEventHandleCallback callback, void *opaque, virFreeCallback free_opaque)
{
  Entry *entry = g_new0 (Entry, 1);
  entry->fd = fd;
  entry->events = events;
  entry->on_handle = callback;
  entry->opaque = opaque;
  entry->free_opaque = free_opaque;
  return add (entry);
}

static int
add_timeout (int milliseconds, virEventTimeoutCallback callback, void *opaque, virFreeCallback free_opaque)
{
  Entry *entry = g_new0 (Entry, 1);
  entry->fd = -1;
  entry->events = milliseconds;
  entry->on_timeout = callback;
  entry->opaque = opaque;
  entry->free_opaque = free_opaque;
  return add (entry);
}

/* --- the loop --- */

BkLibvirtEvents *
bk_libvirt_events_get (void)
{
  if (the_events)
    return the_events;
  the_events = g_new0 (BkLibvirtEvents, 1);
  the_events->context = g_main_context_new ();
  the_events->entries = g_hash_table_new_full (NULL, NULL, NULL, entry_unref);
  g_mutex_init (&the_events->mutex);
  virEventRegisterImpl (add_handle, update, remove_entry, add_timeout, update, remove_entry);
  return the_events;
}

static gpointer
run (gpointer data)
{
  BkLibvirtEvents *events = data;
  g_main_loop_run (events->loop);
  return NULL;
}

void
bk_libvirt_events_start (BkLibvirtEvents *events)
{
  events->loop = g_main_loop_new (events->context, FALSE);
  events->thread = g_thread_new ("libvirt-events", run, events);
}

static gboolean
quit (gpointer loop)
{
  g_main_loop_quit (loop);
  return G_SOURCE_REMOVE;
}

/* By a source: also when the thread has not come to run the loop yet. */
void
bk_libvirt_events_stop (BkLibvirtEvents *events)
{
  g_autoptr (GSource) source = g_idle_source_new ();
  g_source_set_callback (source, quit, events->loop, NULL);
  g_source_attach (source, events->context);
  g_thread_join (events->thread);
  g_clear_pointer (&events->loop, g_main_loop_unref);
}
