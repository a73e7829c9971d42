/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-backend-private.h"

#include "fsio.h"

#include <string.h>

/* A repository keeps no larger ones; the NVRAM of OVMF has 0.5 MiB. */
#define LONGEST_PART (4u << 20)
#define TPM_FOLDER "/var/lib/libvirt/swtpm" /* of libvirt for the whole system */

static const BkBackendOps libvirt_ops;

/* --- link --- */

static void
on_news (BkLibvirtLink *link, const char *uuid, const char *event, gpointer user_data)
{
  BkLibvirtBackend *self = user_data;
  if (self->base.notify == NULL || (uuid && strcmp (uuid, self->uuid) != 0))
    return;
  self->base.notify (&self->base, bk_libvirt_link_state (link, NULL, NULL), event, self->base.notify_data);
}

static void
libvirt_connect (BkBackend *backend)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  bk_libvirt_link_watch (self->link, on_news, self);
}

static void
libvirt_disconnect (BkBackend *backend)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  bk_libvirt_link_unwatch (self->link, on_news, self);
}

static void
libvirt_free (BkBackend *backend)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  bk_libvirt_link_unwatch (self->link, on_news, self);
  bk_libvirt_link_unref (self->link);
  g_clear_pointer (&self->known, g_ptr_array_unref);
  g_mutex_clear (&self->mutex);
  g_free (self->running);
  g_free (self->uuid);
  g_free (self);
}

static BkLink
libvirt_link (BkBackend *backend, char **reason, char **version)
{
  return bk_libvirt_link_state (((BkLibvirtBackend *)backend)->link, reason, version);
}

/* --- what we have made there --- */

void
bk_libvirt_backend_set_running (BkLibvirtBackend *self, const char *prefix)
{
  g_mutex_lock (&self->mutex);
  g_free (self->running);
  self->running = g_strdup (prefix);
  g_mutex_unlock (&self->mutex);
}

static void
libvirt_recall (BkBackend *backend, GPtrArray *checkpoints)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  GPtrArray *known = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_checkpoint_info_free);
  for (unsigned i = 0; i < checkpoints->len; i++)
    g_ptr_array_add (known, bk_struct_copy (&bk_checkpoint_info_struct, checkpoints->pdata[i]));
  g_mutex_lock (&self->mutex);
  g_clear_pointer (&self->known, g_ptr_array_unref);
  self->known = known;
  g_mutex_unlock (&self->mutex);
}

static GPtrArray *
get_known (BkLibvirtBackend *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  return self->known ? g_ptr_array_ref (self->known) : g_ptr_array_new ();
}

static bool
has_checkpoint (const BkLibvirtLook *look, const char *name)
{
  for (unsigned i = 0; i < look->checkpoints->len; i++)
    if (strcmp (((const BkLibvirtCheckpointXml *)look->checkpoints->pdata[i])->name, name) == 0)
      return true;
  return false;
}

static bool
has_disk (const BkLibvirtLook *look, const char *target)
{
  for (unsigned i = 0; i < look->xml->disks->len; i++)
    if (strcmp (((const BkLibvirtDisk *)look->xml->disks->pdata[i])->target, target) == 0)
      return true;
  return false;
}

static gboolean
redefine (BkLibvirtBackend *self, const BkCheckpointInfo *checkpoint, const char *bitmap, GPtrArray *disks, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *xml = bk_libvirt_xml_forgotten (bitmap, checkpoint->created_at / G_USEC_PER_SEC, disks);
  if (bk_libvirt_checkpoint_redefine (self->link, self->uuid, xml, cancellable, &error))
    return TRUE;
  g_debug ("checkpoint '%s': %s", checkpoint->id, error->message);
  return FALSE;
}

/* All its disks, or else, where some have lost their bitmaps, one that has not. */
static bool
remind_of (BkLibvirtBackend *self, const BkLibvirtLook *look, const BkCheckpointInfo *checkpoint, GCancellable *cancellable)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  const char *bitmap = NULL;
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++) {
    const BkCheckpointDisk *disk = checkpoint->disks->pdata[i];
    if (g_strcmp0 (disk->state, "committed") != 0 || !has_disk (look, disk->name))
      continue;
    bitmap = disk->bitmap;
    g_ptr_array_add (disks, disk->name);
  }
  if (bitmap == NULL || has_checkpoint (look, bitmap))
    return false;
  if (redefine (self, checkpoint, bitmap, disks, cancellable))
    return true;
  for (unsigned i = 0; disks->len > 1 && i < disks->len; i++) {
    g_autoptr (GPtrArray) one = g_ptr_array_new ();
    g_ptr_array_add (one, disks->pdata[i]);
    if (redefine (self, checkpoint, bitmap, one, cancellable))
      return true;
  }
  return false;
}

static bool
remind (BkLibvirtBackend *self, const BkLibvirtLook *look, GCancellable *cancellable)
{
  g_autoptr (GPtrArray) known = get_known (self);
  bool any = false;
  for (unsigned i = 0; look->domain.active && i < known->len; i++)
    any |= remind_of (self, look, known->pdata[i], cancellable);
  return any;
}

/* --- inspect --- */

static BkBitmap *
bitmap_of (const BkLibvirtCheckpointDisk *from)
{
  BkBitmap *bitmap = g_new0 (BkBitmap, 1);
  bitmap->name = g_strdup (from->bitmap);
  bitmap->count = from->dirty;
  bitmap->persistent = true;
  bitmap->recording = true;
  bitmap->cumulative = true;
  bitmap->inconsistent = !from->sound;
  return bitmap;
}

static GPtrArray *
bitmaps_of (const BkLibvirtLook *look, const char *target)
{
  GPtrArray *bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
  for (unsigned i = 0; i < look->checkpoints->len; i++) {
    const BkLibvirtCheckpointXml *checkpoint = look->checkpoints->pdata[i];
    for (unsigned d = 0; d < checkpoint->disks->len; d++) {
      const BkLibvirtCheckpointDisk *disk = checkpoint->disks->pdata[d];
      if (strcmp (disk->disk, target) == 0)
        g_ptr_array_add (bitmaps, bitmap_of (disk));
    }
  }
  return bitmaps;
}

/* The node names that QEMU has for it while it runs. */
static char *
node_of (const BkLibvirtDisk *from)
{
  return from->index ? g_strdup_printf ("libvirt-%s-format", from->index) : g_strdup (from->target);
}

static char *
why_no_pull (const BkLibvirtBackend *self, const BkLibvirtDisk *from)
{
  if (self->remote)
    return g_strdup ("its libvirt is on another machine, and so are the scratch files and the sockets of a pull");
  if (from->iothread)
    return g_strdup ("it is in an iothread, and QEMU 7.2 ends when a reader leaves the NBD export of such a disk");
  return NULL;
}

static BkDisk *
disk_of (const BkLibvirtBackend *self, const BkLibvirtLook *look, const BkLibvirtDisk *from)
{
  BkDisk *disk = g_new0 (BkDisk, 1);
  bool qcow2 = g_strcmp0 (from->format, "qcow2") == 0;
  disk->name = g_strdup (from->target);
  disk->node = node_of (from);
  disk->root = g_strdup (disk->node);
  disk->qdev = g_strdup (from->alias ? from->alias : "");
  disk->format = g_strdup (from->format ? from->format : "raw");
  disk->file = g_strdup (from->source ? from->source : "");
  disk->iothread = g_strdup (from->iothread);
  disk->size = from->size;
  disk->removable = g_strcmp0 (from->device, "cdrom") == 0 || g_strcmp0 (from->device, "floppy") == 0;
  disk->empty = from->source == NULL;
  disk->read_only = from->read_only || g_strcmp0 (from->device, "lun") == 0;
  disk->has_backing = from->has_backing;
  disk->can_persist = qcow2 && !disk->read_only;
  disk->untracked = qcow2 ? NULL : g_strdup_printf ("libvirt keeps track of changes in qcow2 images only, and it is %s", disk->format);
  disk->why_not = g_strdup (disk->untracked);
  disk->no_pull = why_no_pull (self, from);
  disk->bitmaps = bitmaps_of (look, from->target);
  return disk;
}

/* The prefix of the run whose pull this is, by the names of its files ("/bkd-1a2b3c-42-s0.qcow2"). (transfer full) */
static char *
prefix_in (const char *path)
{
  g_autoptr (GMatchInfo) match = NULL;
  g_autoptr (GRegex) pattern = g_regex_new ("/(bkd-[0-9a-f]{6}-[0-9]+)-", 0, 0, NULL);
  return path && g_regex_match (pattern, path, 0, &match) ? g_match_info_fetch (match, 1) : NULL;
}

static char *
whose (BkLibvirtBackend *self, const BkLibvirtBackupXml *backup)
{
  GHashTableIter iter;
  gpointer path;
  char *prefix = NULL;
  g_hash_table_iter_init (&iter, backup->paths);
  while (prefix == NULL && g_strcmp0 (backup->mode, "pull") == 0 && g_hash_table_iter_next (&iter, NULL, &path))
    prefix = prefix_in (path);
  if (prefix)
    return prefix;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  return g_strdup (self->running);
}

/* One of ours keeps its disks busy; another one the whole domain. */
static void
note_job (BkLibvirtBackend *self, const BkLibvirtLook *look, GPtrArray *disks)
{
  g_autofree char *prefix = look->backup ? whose (self, look->backup) : NULL;
  const char *foreign = look->backup && prefix == NULL ? "a backup job of libvirt that is not ours" : look->job;
  for (unsigned i = 0; i < disks->len; i++) {
    BkDisk *disk = disks->pdata[i];
    if (prefix && g_hash_table_contains (look->backup->paths, disk->name))
      disk->in_use = g_strdup (prefix);
    disk->blocked = g_strdup (foreign);
  }
}

static BkVmState *
state_of (BkLibvirtBackend *self, const BkLibvirtLook *look)
{
  BkVmState *state = g_new0 (BkVmState, 1);
  state->status = g_strdup (look->domain.state);
  state->domain = g_strdup (look->domain.name);
  state->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_free);
  for (unsigned i = 0; i < look->xml->disks->len; i++)
    g_ptr_array_add (state->disks, disk_of (self, look, look->xml->disks->pdata[i]));
  note_job (self, look, state->disks);
  bk_libvirt_link_state (self->link, NULL, &state->version);
  state->pull = true;
  state->one_bitmap_name = true; /* that of libvirt's checkpoint */
  state->no_snapshot_push = g_strdup ("a push of libvirt copies from the disk itself");
  if (!look->domain.active)
    state->obstacle = g_strdup_printf ("its domain '%s' is %s; start it", look->domain.name, look->domain.state);
  return state;
}

static BkVmState *
libvirt_inspect (BkBackend *backend, GCancellable *cancellable, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  g_autoptr (BkLibvirtLook) look = bk_libvirt_look (self->link, self->uuid, cancellable, error);
  if (look == NULL)
    return NULL;
  if (remind (self, look, cancellable)) {
    bk_libvirt_look_free (look);
    look = bk_libvirt_look (self->link, self->uuid, cancellable, error);
  }
  return look ? state_of (self, look) : NULL;
}

/* --- describe --- */

/* @content: (transfer full) */
static void
add_part (GPtrArray *parts, const char *name, char *content, size_t length)
{
  BkVmPart *part = g_new0 (BkVmPart, 1);
  part->name = g_strdup (name);
  part->content = g_bytes_new_take (content, length);
  g_ptr_array_add (parts, part);
}

/* What is not there, or not on this machine, is left out: the domain can be had without it. */
static void
add_file (GPtrArray *parts, const char *name, const char *path)
{
  g_autoptr (GError) error = NULL;
  char *content = NULL;
  size_t length = 0;
  if (bk_fsio_read_file (path, LONGEST_PART, &content, &length, &error))
    add_part (parts, name, content, length);
  else if (!g_error_matches (error, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_warning ("the backup is without the %s of the domain: %s", name, error->message);
}

static void
add_tpm (GPtrArray *parts, const char *uuid)
{
  static const char *const states[] = { "tpm2/tpm2-00.permall", "tpm1.2/tpm-00.permall" };
  for (size_t i = 0; i < G_N_ELEMENTS (states); i++) {
    g_autofree char *path = g_build_filename (TPM_FOLDER, uuid, states[i], NULL);
    if (g_file_test (path, G_FILE_TEST_EXISTS))
      add_file (parts, BK_LIBVIRT_TPM, path);
  }
}

static GPtrArray *
libvirt_describe (BkBackend *backend, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  g_autofree char *text = bk_libvirt_get_definition (self->link, self->uuid, error);
  g_autoptr (BkLibvirtDomainXml) domain = text ? bk_libvirt_xml_read_domain (text, error) : NULL;
  if (domain == NULL)
    return NULL;
  GPtrArray *parts = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_vm_part_free);
  size_t length = strlen (text);
  add_part (parts, BK_LIBVIRT_DEFINITION, g_steal_pointer (&text), length);
  if (domain->nvram && !self->remote)
    add_file (parts, BK_LIBVIRT_NVRAM, domain->nvram);
  if (domain->has_tpm && !self->remote)
    add_tpm (parts, self->uuid);
  return parts;
}

BkLibvirtLook *
bk_libvirt_backend_look_active (BkLibvirtBackend *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (BkLibvirtLook) look = bk_libvirt_look (self->link, self->uuid, cancellable, error);
  if (look == NULL || look->domain.active)
    return g_steal_pointer (&look);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "domain '%s' is %s; start it", look->domain.name, look->domain.state);
  return NULL;
}

/* --- the object --- */

static const BkBackendOps libvirt_ops = {
  .name = "libvirt",
  .one_job = true,
  .connect = libvirt_connect,
  .disconnect = libvirt_disconnect,
  .free = libvirt_free,
  .link = libvirt_link,
  .recall = libvirt_recall,
  .inspect = libvirt_inspect,
  .describe = libvirt_describe,
  .prepare = bk_libvirt_backup_prepare,
  .snapshot = bk_libvirt_backup_snapshot,
  .start = bk_libvirt_backup_start,
  .wait = bk_libvirt_backup_wait,
  .pause = bk_libvirt_backup_pause,
  .set_speed = bk_libvirt_backup_set_speed,
  .close = bk_libvirt_backup_close,
  .export = bk_libvirt_backup_export,
  .check_frozen = bk_libvirt_backup_check_frozen,
  .release = bk_libvirt_backup_release,
  .rollback = bk_libvirt_backup_rollback,
  .checkpoint_create = bk_libvirt_backup_checkpoint_create,
  .checkpoint_delete = bk_libvirt_backup_checkpoint_delete,
};

BkBackend *
bk_libvirt_backend_new (BkLibvirt *libvirt, const char *uri, const char *uuid)
{
  BkLibvirtBackend *self = g_new0 (BkLibvirtBackend, 1);
  self->base.ops = &libvirt_ops;
  self->link = bk_libvirt_get_link (libvirt, uri);
  self->uuid = g_strdup (uuid);
  self->remote = bk_libvirt_uri_is_remote (uri);
  g_mutex_init (&self->mutex);
  return &self->base;
}
