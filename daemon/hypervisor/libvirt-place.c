/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-place.h"

#include "fsio.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OTHER_PLACE "/var/tmp"

typedef struct {
  uid_t uid;
  gid_t gid;
} Owner;

/* "+64055:+64055" */
static Owner
read_owner (const char *text)
{
  Owner owner = { geteuid (), getegid () };
  char *rest = NULL;
  if (text == NULL || *text != '+')
    return owner;
  owner.uid = (uid_t)strtoul (text + 1, &rest, 10);
  if (rest[0] == ':' && rest[1] == '+')
    owner.gid = (gid_t)strtoul (rest + 2, NULL, 10);
  return owner;
}

static bool
may_enter (const char *folder, Owner owner)
{
  struct stat status;
  if (owner.uid == 0)
    return true;
  if (stat (folder, &status) < 0)
    return false;
  mode_t bit = status.st_uid == owner.uid ? S_IXUSR : status.st_gid == owner.gid ? S_IXGRP : S_IXOTH;
  return (status.st_mode & bit) != 0;
}

/* The first folder on the way to @path, itself not, that @owner may not enter; NULL = none. (transfer full) */
static char *
barrier (const char *path, Owner owner)
{
  g_autofree char *found = NULL;
  g_autofree char *folder = g_path_get_dirname (path);
  for (;;) {
    if (!may_enter (folder, owner)) {
      g_free (found);
      found = g_strdup (folder);
    }
    if (strcmp (folder, "/") == 0 || strcmp (folder, ".") == 0)
      return g_steal_pointer (&found);
    char *parent = g_path_get_dirname (folder);
    g_free (folder);
    folder = parent;
  }
}

/* What is there already must be a folder of ours or of that user: others may write to /var/tmp, too. */
static gboolean
check_ours (const char *path, Owner owner, GError **error)
{
  struct stat status;
  if (lstat (path, &status) < 0)
    return bk_error_set_errno (error, errno, "cannot look at '%s'", path);
  if (S_ISDIR (status.st_mode) && (status.st_uid == geteuid () || status.st_uid == owner.uid))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "'%s' is in the way; remove it", path);
  return FALSE;
}

static gboolean
make (const char *path, Owner owner, GError **error)
{
  if (g_mkdir (path, 0700) < 0 && errno != EEXIST)
    return bk_error_set_errno (error, errno, "cannot make '%s'", path);
  if (!check_ours (path, owner, error))
    return FALSE;
  if (owner.uid == geteuid ())
    return TRUE;
  if (lchown (path, owner.uid, owner.gid) == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "QEMU runs as user %u, to whom '%s' would have to be given; run backupd as root, or as that user",
               (unsigned)owner.uid, path);
  return FALSE;
}

char *
bk_libvirt_place_make (const char *folder, const char *name, const char *owner_text, GError **error)
{
  Owner owner = read_owner (owner_text);
  if (!bk_fsio_make_folder (folder, error))
    return NULL;
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *obstacle = barrier (path, owner);
  if (obstacle) {
    g_debug ("QEMU's user %u may not enter '%s'", (unsigned)owner.uid, obstacle);
    g_free (path);
    path = g_build_filename (OTHER_PLACE, name, NULL);
  }
  return make (path, owner, error) ? g_steal_pointer (&path) : NULL;
}

static void
remove_folder (const char *path)
{
  g_autoptr (GDir) folder = g_dir_open (path, 0, NULL);
  if (folder == NULL || g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    return;
  for (const char *name = g_dir_read_name (folder); name; name = g_dir_read_name (folder)) {
    g_autofree char *file = g_build_filename (path, name, NULL);
    if (g_unlink (file) < 0)
      g_warning ("cannot remove '%s': %s", file, g_strerror (errno));
  }
  if (g_rmdir (path) < 0)
    g_warning ("cannot remove '%s': %s", path, g_strerror (errno));
}

void
bk_libvirt_place_remove (const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *other = g_build_filename (OTHER_PLACE, name, NULL);
  remove_folder (path);
  remove_folder (other);
}

void
bk_libvirt_place_open (const char *path, unsigned n, const char *owner_text)
{
  Owner owner = read_owner (owner_text);
  g_autofree char *folder = g_path_get_dirname (path);
  for (unsigned i = 0; i < n; i++) {
    struct stat status;
    bool closed = !may_enter (folder, owner) && stat (folder, &status) == 0 && status.st_uid == geteuid ();
    if (closed && chmod (folder, (status.st_mode & 07777) | S_IXOTH) < 0)
      g_warning ("cannot let QEMU enter '%s': %s", folder, g_strerror (errno));
    char *parent = g_path_get_dirname (folder);
    g_free (folder);
    folder = parent;
  }
}

gboolean
bk_libvirt_place_check (const char *path, const char *owner_text, GError **error)
{
  Owner owner = read_owner (owner_text);
  g_autofree char *obstacle = barrier (path, owner);
  if (obstacle == NULL)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_DENIED,
               "QEMU, which is to write '%s', runs as user %u, who may not enter '%s'; allow that ('chmod o+x'), or use a repository of type dedup", path,
               (unsigned)owner.uid, obstacle);
  return FALSE;
}
