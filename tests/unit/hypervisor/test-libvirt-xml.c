/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-xml.h"
#include "suite.h"

#include <string.h>

static const char domain_text[] =
    "<domain type='kvm' id='1'><name>Database &amp; 1</name><uuid>9a17a425-d866-4923-804b-eb7ebe6de6f0</uuid>"
    "<os><type>hvm</type><loader type='pflash'>/code.fd</loader><nvram>/var/nvram/db.fd</nvram></os><devices>"
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2' iothread='2'/><source file='/img/a&amp;b.qcow2' index='3'/>"
    "<backingStore type='file'><source file='/base'/></backingStore><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>"
    "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/lv'/><target dev='sda' bus='scsi'/><readonly/>"
    "<address type='drive' controller='1' bus='0' target='0' unit='0'/></disk>"
    "<disk type='network' device='disk'><source protocol='rbd' name='pool/image'/><target dev='vdb' bus='virtio'/></disk>"
    "<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>"
    "<controller type='scsi' index='0'/><controller type='scsi' index='1'><driver iothread='4'/></controller>"
    "<interface type='network'><mac address='52:54:00:00:00:01'/></interface>"
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>"
    "<seclabel type='dynamic' model='apparmor'><label>x</label></seclabel><seclabel type='dynamic' model='dac'><label>+64055:+107</label></seclabel></domain>";

static const BkLibvirtDisk *
disk_at (const BkLibvirtDomainXml *domain, unsigned index)
{
  return domain->disks->pdata[index];
}

START_TEST (reads_a_domain)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkLibvirtDomainXml) domain = bk_libvirt_xml_read_domain (domain_text, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (domain->name, "Database & 1");
  ck_assert_str_eq (domain->uuid, "9a17a425-d866-4923-804b-eb7ebe6de6f0");
  ck_assert_str_eq (domain->owner, "+64055:+107");
  ck_assert_str_eq (domain->nvram, "/var/nvram/db.fd");
  ck_assert (domain->has_tpm);
  ck_assert_uint_eq (domain->disks->len, 4);
  const BkLibvirtDisk *vda = disk_at (domain, 0), *sda = disk_at (domain, 1), *vdb = disk_at (domain, 2), *cd = disk_at (domain, 3);
  ck_assert_str_eq (vda->source, "/img/a&b.qcow2");
  ck_assert_str_eq (vda->index, "3");
  ck_assert_str_eq (vda->iothread, "2");
  ck_assert (vda->has_backing && !vda->read_only);
  ck_assert_str_eq (sda->source, "/dev/vg/lv");
  ck_assert_str_eq (sda->iothread, "4"); /* of its controller */
  ck_assert (sda->read_only && !sda->has_backing);
  ck_assert_str_eq (vdb->source, "rbd:pool/image");
  ck_assert_ptr_null (vdb->format);
  ck_assert_str_eq (cd->device, "cdrom");
  ck_assert_ptr_null (cd->source);
}
END_TEST

START_TEST (refuses_what_is_none)
{
  static const char *const texts[] = { "", "<domain", "<network/>", "no", "<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><network>&a;</network>" };
  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GError) error = NULL;
    ck_assert_ptr_null (bk_libvirt_xml_read_domain (texts[i], &error));
    bk_assert_error (error, BK_ERROR_FAILED);
    ck_assert_ptr_null (bk_libvirt_xml_read_backup (texts[i], &error));
    bk_assert_error (error, BK_ERROR_FAILED);
  }
}
END_TEST

START_TEST (bitmaps_without_a_size_are_not_sound)
{
  static const char text[] = "<domaincheckpoint><name>c1</name><creationTime>17</creationTime><disks><disk name='vda' checkpoint='bitmap' bitmap='b' size='65536'/>"
                             "<disk name='vdb' checkpoint='bitmap' bitmap='c1'/><disk name='vdc' checkpoint='no'/></disks></domaincheckpoint>";
  g_autoptr (BkLibvirtCheckpointXml) sized = bk_libvirt_xml_read_checkpoint (text, true, NULL);
  g_autoptr (BkLibvirtCheckpointXml) plain = bk_libvirt_xml_read_checkpoint (text, false, NULL);
  ck_assert_uint_eq (sized->disks->len, 2);
  const BkLibvirtCheckpointDisk *vda = sized->disks->pdata[0], *vdb = sized->disks->pdata[1];
  ck_assert_str_eq (vda->bitmap, "b");
  ck_assert_uint_eq (vda->dirty, 65536);
  ck_assert (vda->sound && !vdb->sound);
  ck_assert (((const BkLibvirtCheckpointDisk *)plain->disks->pdata[1])->sound);
  ck_assert_int_eq (sized->created_at, 17);
}
END_TEST

static BkRunDisk *
add_disk (BkRun *run, const char *name, const char *base)
{
  BkRunDisk *disk = g_new0 (BkRunDisk, 1);
  disk->name = g_strdup (name);
  disk->index = run->disks->len;
  disk->sync = g_strdup (base ? "bitmap" : "full");
  disk->state = g_strdup ("planned");
  disk->target_driver = g_strdup ("file");
  disk->target_format = g_strdup ("qcow2");
  disk->target = g_strdup_printf ("/q/%s & co.qcow2", name);
  if (base) {
    disk->base_bitmaps = g_strsplit (base, " ", -1);
    disk->bitmap = g_strdup ("bkd-1a2b3c-cp-9");
  }
  g_ptr_array_add (run->disks, disk);
  return disk;
}

static BkRun *
run_new (const char *mode)
{
  BkRun *run = g_new0 (BkRun, 1);
  run->prefix = g_strdup ("bkd-1a2b3c-9");
  run->mode = g_strdup (mode);
  run->disks = g_ptr_array_new ();
  add_disk (run, "vda", "old newer");
  add_disk (run, "vdb", NULL);
  return run;
}

START_TEST (a_pull_names_all_disks)
{
  g_autoptr (BkRun) run = run_new ("pull");
  g_autoptr (BkLibvirtDomainXml) domain = bk_libvirt_xml_read_domain (domain_text, NULL);
  g_autofree char *text = bk_libvirt_xml_pull (run, domain, "/s/nbd", "/s");
  /* The oldest bitmap has it all. */
  ck_assert_ptr_nonnull (strstr (text, "<disk name=\"vda\" backup=\"yes\" type=\"file\" backupmode=\"incremental\" incremental=\"old\" "
                                       "exportname=\"bkd-1a2b3c-9-x0\" exportbitmap=\"bkd-1a2b3c-9-inc\">"));
  ck_assert_ptr_nonnull (strstr (text, "<disk name=\"vdb\" backup=\"yes\" type=\"file\" backupmode=\"full\" exportname=\"bkd-1a2b3c-9-x1\">"));
  ck_assert_ptr_nonnull (strstr (text, "<disk name=\"sda\" backup=\"no\"/>"));
  ck_assert_ptr_nonnull (strstr (text, "<server transport=\"unix\" socket=\"/s/nbd\"/>"));
  g_autoptr (BkLibvirtBackupXml) backup = bk_libvirt_xml_read_backup (text, NULL);
  ck_assert_str_eq (backup->mode, "pull");
  ck_assert_str_eq (backup->socket, "/s/nbd");
  ck_assert_uint_eq (g_hash_table_size (backup->paths), 2);
  ck_assert_str_eq (g_hash_table_lookup (backup->paths, "vda"), "/s/bkd-1a2b3c-9-s0.qcow2");
}
END_TEST

START_TEST (a_push_escapes_its_paths)
{
  g_autoptr (BkRun) run = run_new ("push-direct");
  g_autoptr (BkLibvirtDomainXml) domain = bk_libvirt_xml_read_domain (domain_text, NULL);
  g_autofree char *text = bk_libvirt_xml_push (run, domain);
  ck_assert_ptr_nonnull (strstr (text, "<target file=\"/q/vda &amp; co.qcow2\"/>"));
  g_autoptr (BkLibvirtBackupXml) backup = bk_libvirt_xml_read_backup (text, NULL);
  ck_assert_str_eq (g_hash_table_lookup (backup->paths, "vda"), "/q/vda & co.qcow2");
  g_autofree char *checkpoint = bk_libvirt_xml_checkpoint (run, domain);
  ck_assert_ptr_nonnull (strstr (checkpoint, "<name>bkd-1a2b3c-cp-9</name>"));
  ck_assert_ptr_nonnull (strstr (checkpoint, "<disk name=\"vda\" checkpoint=\"bitmap\"/>"));
  ck_assert_ptr_nonnull (strstr (checkpoint, "<disk name=\"vdb\" checkpoint=\"no\"/>"));
  ck_assert_ptr_nonnull (strstr (checkpoint, "<disk name=\"sdb\" checkpoint=\"no\"/>"));
}
END_TEST

static char *
redefined (bool keep_identity)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GHashTable) disks = g_hash_table_new (g_str_hash, g_str_equal);
  g_hash_table_insert (disks, (gpointer)"vda", (gpointer)"/new/vda.qcow2");
  g_hash_table_insert (disks, (gpointer)"sda", (gpointer)"/new/sda.qcow2");
  const BkLibvirtRedefinition how = { "<copy>", keep_identity, disks, "qcow2", "/new/copy.nvram" };
  char *text = bk_libvirt_xml_redefine (domain_text, &how, &error);
  bk_assert_no_error (error);
  return text;
}

START_TEST (a_domain_anew_has_its_own_places)
{
  g_autofree char *text = redefined (false);
  g_autoptr (BkLibvirtDomainXml) domain = bk_libvirt_xml_read_domain (text, NULL);
  ck_assert_str_eq (domain->name, "<copy>");
  ck_assert_ptr_null (domain->uuid);
  ck_assert_str_eq (domain->nvram, "/new/copy.nvram");
  ck_assert_uint_eq (domain->disks->len, 3); /* vdb is not restored */
  ck_assert_str_eq (disk_at (domain, 0)->source, "/new/vda.qcow2");
  ck_assert (!disk_at (domain, 0)->has_backing);
  ck_assert_str_eq (disk_at (domain, 1)->source, "/new/sda.qcow2");
  ck_assert_str_eq (disk_at (domain, 1)->source_type, "file");
  ck_assert_str_eq (disk_at (domain, 1)->format, "qcow2");
  ck_assert_str_eq (disk_at (domain, 2)->device, "cdrom");
  ck_assert_ptr_null (strstr (text, "52:54:00:00:00:01"));
  g_autofree char *kept = redefined (true);
  ck_assert_ptr_nonnull (strstr (kept, "52:54:00:00:00:01"));
  ck_assert_ptr_nonnull (strstr (kept, "9a17a425-d866-4923-804b-eb7ebe6de6f0"));
}
END_TEST

START_TEST (a_forgotten_checkpoint_is_told_with_its_bitmaps)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_ptr_array_add (disks, (gpointer)"vda");
  g_autofree char *text = bk_libvirt_xml_forgotten ("bkd-1a2b3c-cp-9", 1795402200, disks);
  g_autoptr (BkLibvirtCheckpointXml) checkpoint = bk_libvirt_xml_read_checkpoint (text, false, NULL);
  ck_assert_str_eq (checkpoint->name, "bkd-1a2b3c-cp-9");
  ck_assert_int_eq (checkpoint->created_at, 1795402200);
  ck_assert_uint_eq (checkpoint->disks->len, 1);
  ck_assert_str_eq (((const BkLibvirtCheckpointDisk *)checkpoint->disks->pdata[0])->bitmap, "bkd-1a2b3c-cp-9");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_a_domain, refuses_what_is_none, bitmaps_without_a_size_are_not_sound, a_pull_names_all_disks, a_push_escapes_its_paths,
                                 a_domain_anew_has_its_own_places, a_forgotten_checkpoint_is_told_with_its_bitmaps, NULL };
  return bk_suite_run ("libvirt xml", tests);
}
