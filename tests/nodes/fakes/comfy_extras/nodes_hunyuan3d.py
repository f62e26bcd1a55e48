class MESH:
    def __init__(self, vertices, faces):
        self.vertices, self.faces = vertices, faces
