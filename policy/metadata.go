package policy

import (
	"net/netip"
	"strings"
)

// isMetadata reports whether a is the address of a cloud's metadata service:
// whoever reaches one from inside a machine of that cloud gets credentials of
// the machine. All but the Azure one lie in ranges that aren't public anyway;
// they are listed because they are worth an alert of their own, and because
// opening a range in AllowPrivate must not open them.
func isMetadata(a netip.Addr) bool {
	if a.Is4() {
		return isMetadata4(a.As4())
	}
	return isMetadata6(a.WithZone("").As16())
}

func isMetadata4(b [4]byte) bool {
	switch b {
	case
		[4]byte{169, 254, 169, 254}, // most clouds: docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
		[4]byte{169, 254, 170, 2},   // AWS ECS: docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint.html
		[4]byte{169, 254, 170, 23},  // AWS EKS Pod Identity: docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
		[4]byte{169, 254, 0, 23},    // Tencent Cloud: www.tencentcloud.com/document/product/213/4934
		[4]byte{169, 254, 42, 42},   // Scaleway: docs.cloud-init.io/en/latest/reference/datasources/scaleway.html
		[4]byte{100, 100, 100, 200}, // Alibaba Cloud: www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
		[4]byte{168, 63, 129, 16},   // Azure WireServer: learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
		[4]byte{192, 0, 0, 192}:     // Oracle Cloud Classic: docs.oracle.com/en/cloud/iaas/compute-iaas-cloud/
		return true
	}
	return false
}

func isMetadata6(b [16]byte) bool {
	switch b {
	case
		[16]byte{0xfd, 0x00, 0x0e, 0xc2, 14: 0x02, 15: 0x54},                     // fd00:ec2::254, AWS EC2: as above
		[16]byte{0xfd, 0x00, 0x0e, 0xc2, 15: 0x23},                               // fd00:ec2::23, AWS EKS Pod Identity: as above
		[16]byte{0xfd, 0x20, 0x00, 0xce, 14: 0x02, 15: 0x54},                     // fd20:ce::254, Google Cloud: cloud.google.com/compute/docs/metadata/overview
		[16]byte{0xfd, 0x00, 0x00, 0x42, 15: 0x42},                               // fd00:42::42, Scaleway: as above
		[16]byte{0xfd, 0x00, 0x00, 0xc1, 12: 0xa9, 13: 0xfe, 14: 0xa9, 15: 0xfe}, // fd00:c1::a9fe:a9fe, Oracle Cloud: docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm
		[16]byte{0xfd, 0x00, 0xa9, 0xfe, 4: 0xa9, 5: 0xfe, 15: 0x01},             // fd00:a9fe:a9fe::1, Akamai (Linode): techdocs.akamai.com/cloud-computing/docs/overview-of-the-metadata-service
		[16]byte{0xfe, 0x80, 12: 0xa9, 13: 0xfe, 14: 0xa9, 15: 0xfe}:             // fe80::a9fe:a9fe, OpenStack: docs.openstack.org/nova/latest/user/metadata.html
		return true
	}
	return false
}

// nameClass returns the class of a host name that is known for where it leads,
// without resolving it, and the addresses behind it: whoever opened one of
// those has opened the name. The empty class says nothing.
func nameClass(host string) (c AddrClass, v4, v6 netip.Addr) {
	switch host {
	case
		"metadata.google.internal", // cloud.google.com/compute/docs/metadata/overview
		"metadata.goog",            // the same, for clients that can't use .internal
		"metadata",                 // the same, through Google's search domain
		"instance-data",            // AWS EC2, through its search domain
		"instance-data.ec2.internal",
		"metadata.tencentyun.com", // Tencent Cloud
		"metadata.azure.internal", // Azure
		"metadata.aws.internal":
		return ClassMetadata, netip.AddrFrom4([4]byte{169, 254, 169, 254}),
			netip.AddrFrom16([16]byte{0xfd, 0x20, 0x00, 0xce, 14: 0x02, 15: 0x54})
	case "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback":
		return ClassLoopback, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	}
	if strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return ClassLoopback, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	}
	return "", netip.Addr{}, netip.Addr{}
}
